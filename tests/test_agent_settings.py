"""Settings of an agent's own: shown, guarded, kept in the run, repeated, resumed."""

import json
import re
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from tats_gym.agents import find_agent
from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.experiments.trials.trial import Trial, run_trials
from tats_gym.agents.experiments.trials.variations import with_changes
from tats_gym.agents.peers.adamae import AdaMAEConfig
from tats_gym.agents.peers.fixed import FixedMasks, RandomPolicy
from tats_gym.agents.requirements import needs, resolve_settings, with_settings
from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.agents.training.command_line import command_for, differing, run_config
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.commands.compare import main as compare
from tats_gym.commands.sweep import main as sweep
from tats_gym.commands.train import main, parse
from tats_gym.runs.checkpoint import CheckpointError, latest_checkpoint
from tats_gym.runs.folder import begin_run, read_record
from tests.runs import tiny_config, train, words_of

NAME = f"{__name__}:build_for_test"


@dataclass(frozen=True, kw_only=True)
class Nested:
    """A part."""

    depth: int = 1
    """Blocks."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """Settings of a third party's."""

    temperature: float = 1.0
    """Divides the scores."""
    kind: Literal["near", "far"] = "near"
    """Which tokens."""
    sizes: tuple[int, ...] = (1, 2)
    """Of layers."""
    flag: bool = True
    """A switch."""
    limit: int | None = None
    """A bound; None is none."""
    part: Nested = field(default_factory=Nested)

    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


taken = []


@needs(masks_per_clip=2)
@with_settings(Own)
def build_for_test(env, config, settings):
    taken.append(settings)
    return FixedMasks(RandomPolicy, env, seed=config.seed, device="cpu")


class WidePolicy(RandomPolicy):
    """Has a layer whose width is a setting."""

    def __init__(self, *args, width, **kwargs):
        super().__init__(*args, **kwargs)
        self.layer = torch.nn.Linear(width, 1)


@dataclass(frozen=True, kw_only=True)
class Wide:
    width: int = 8
    speed: float = 1.0


@with_settings(Wide)
def build_wide(env, config, settings):
    def policy(*args, **kwargs):
        return WidePolicy(*args, width=settings.width, **kwargs)

    return FixedMasks(policy, env, seed=config.seed, device="cpu")


WORDS = [
    "--agent-settings.temperature", "0.5", "--agent-settings.kind", "far", "--agent-settings.sizes", "3", "4", "5",
    "--agent-settings.no-flag", "--agent-settings.limit", "7", "--agent-settings.part.depth", "2",
]  # fmt: skip
CHOSEN = Own(temperature=0.5, kind="far", sizes=(3, 4, 5), flag=False, limit=7, part=Nested(depth=2))


def _answer(words, capsys, command=main):
    return words_of(command, words, capsys, codes=(0, 1, 2))


def test_the_builder_gets_the_settings_of_the_line(clips_root, tmp_path):
    config = parse(["--env", "TatsMask-folder-v0", "--root", str(clips_root), "--agent", NAME, *WORDS]).config
    assert type(config) is PretrainConfig
    assert config.agent_settings == json.loads(json.dumps(asdict(CHOSEN)))
    taken.clear()
    tiny = tiny_config(clips_root, tmp_path, agent=NAME, agent_settings=config.agent_settings)
    Pretraining(tiny).close()
    Pretraining(replace(tiny, agent_settings={})).close()
    assert taken == [CHOSEN, Own()]


def test_the_help_shows_the_agents_settings_and_no_others(capsys):
    shown = _answer(["--agent", NAME, "--help"], capsys)
    for text in (
        "Settings of a third party's.",
        "--agent-settings.temperature FLOAT Divides the scores. (default: 1.0)",
        "--agent-settings.kind {near,far} Which tokens. (default: near)",
        "--agent-settings.part.depth INT Blocks. (default: 1)",
    ):
        assert text in shown
    assert "--agent-settings.num-heads INT" in _answer(["--agent", "adamae", "--help"], capsys)
    assert "--agent-settings" not in _answer(["--agent", "group", "--help"], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--agent-settings.temperature", "-1"], "temperature must be positive, got -1.0"),
        (["--agent-settings.temperature", "nan"], "agent_settings.temperature must be finite, got nan"),
        (["--agent-settings.temperature", "hot"], "hot"),
        (["--agent-settings.kind", "middle"], "invalid choice 'middle' .* Expected one of .'near', 'far'."),
        (["--agent-settings.temperatur", "2"], "Perhaps you meant: --agent-settings.temperature FLOAT"),
    ],
)
def test_a_wrong_setting_is_answered(capsys, words, message):
    assert re.search(message, _answer(["--agent", NAME, *words], capsys))


@pytest.mark.parametrize("option", ["--agent-settings.temperature", "--agent_settings.x=3", "--agent-settings"])
def test_an_agent_without_settings_says_so(capsys, option):
    told = _answer(["--agent", "group", option], capsys)
    assert f"--agent group has no settings of its own, got {option.partition('=')[0]}; leave it out" in told


def test_settings_in_python_are_completed_and_checked():
    config = PretrainConfig(agent="adamae", agent_settings={"num_heads": 4})
    assert resolve_settings(config, find_agent("adamae")).agent_settings == asdict(AdaMAEConfig(num_heads=4))
    with pytest.raises(TypeError, match=r"agent_settings has no field 'num_head'; did you mean 'num_heads'\?"):
        resolve_settings(replace(config, agent_settings={"num_head": 4}), find_agent("adamae"))
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 2"):
        resolve_settings(replace(config, agent_settings={"dropout": 2.0}), find_agent("adamae"))
    with pytest.raises(ValueError, match=r"--agent tats has no settings of its own, got --agent-settings.num-heads"):
        resolve_settings(replace(config, agent="tats"), find_agent("tats"))
    with pytest.raises(TypeError, match=r"agent_settings.a must be a number, text, true, false, null, or a list"):
        replace(config, agent_settings={"a": Path()})
    with pytest.raises(ValueError, match=r"agent_settings.a.b must be finite, got inf"):
        replace(config, agent_settings={"a": {"b": float("inf")}})
    with pytest.raises(ValueError, match=r"agent_settings must not be nested so deeply"):
        PretrainConfig.from_dict(config.as_dict() | {"agent_settings": json.loads('{"a": ' * 900 + "1" + "}" * 900)})


@dataclass
class Thawed:
    x: int = 1


@dataclass(frozen=True)
class Undecided:
    x: int


@dataclass(frozen=True)
class OnDisk:
    x: Path = Path()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (dict, "must be a frozen dataclass, got <class 'dict'>"),
        (Thawed, "must be a frozen dataclass"),
        (Undecided, "Undecided, must have a default for each field"),
        (OnDisk, "OnDisk, must have a default for each field, and be text, numbers"),
    ],
)
def test_classes_that_cannot_be_settings_are_refused_where_they_are_declared(kind, message):
    with pytest.raises(TypeError, match=message):
        with_settings(kind)


@pytest.mark.parametrize("agent", [NAME, "adamae"])
def test_the_command_gives_the_settings_back(agent):
    own = {"num_heads": 4} if agent == "adamae" else json.loads(json.dumps(asdict(CHOSEN)))
    asked = replace(PRESETS["demo"], agent=agent, agent_settings=own)
    ran = resolve_settings(asked, find_agent(agent))
    command = command_for(ran)
    assert ("--agent-settings.num-heads 4" if agent == "adamae" else " ".join(WORDS)) in command
    assert "dropout" not in command
    assert resolve_settings(parse(command.split()[2:]).config, find_agent(agent)) == ran


def test_a_file_gives_settings_below_those_of_the_line(tmp_path, capsys):
    path = tmp_path / "settings.yaml"
    path.write_text(f"agent: {NAME}\nagent_settings:\n  temperature: 0.5\n  part: {{depth: 3}}\n")
    words = ["--config", str(path), "--agent", NAME]
    assert parse(words).config.agent_settings["part"] == {"depth": 3}
    given = parse([*words, "--agent-settings.temperature", "2"]).config.agent_settings
    assert (given["temperature"], given["part"]) == (2.0, {"depth": 3})
    assert parse(["--config", str(path), "--agent", "group"]).config.agent_settings == {}
    assert f"give --agent {NAME} to allow it" in _answer(["--config", str(path)], capsys)
    path.write_text("agent: adamae\nagent_settings: {num_head: 4}\n")
    told = _answer(["--config", str(path)], capsys)
    assert "there is no setting agent_settings.num_head; did you mean 'num_heads'?" in told


def test_a_runs_file_names_no_module_to_import(tmp_path, capsys):
    config = replace(PRESETS["demo"], agent="crafted_module:build", agent_settings={"x": 1})
    begin_run(tmp_path / "run", config.as_dict())
    told = _answer(["--config", str(tmp_path / "run" / "config.json")], capsys)
    assert "give --agent crafted_module:build to allow it" in told
    assert "crafted_module" not in sys.modules


def test_a_run_keeps_its_settings_and_goes_on_with_them(clips_root, tmp_path, caplog):
    name = f"{__name__}:build_wide"
    _, result = train(tiny_config(clips_root, tmp_path, agent=name, agent_settings={"width": 16}))
    kept = {"width": 16, "speed": 1.0}
    assert read_record(result.folder)["config"]["agent_settings"] == kept
    latest_checkpoint(result.folder).unlink()
    again = resume(result.folder)
    assert again.config.agent_settings == kept
    assert again.run().finished
    again.close()
    config = run_config(result.folder)
    with pytest.raises(CheckpointError, match=r"leave the sizes and the agent .*\(agent_settings\.width 16 -> 8\)"):
        resume(result.folder, replace(config, agent_settings={}))
    latest_checkpoint(result.folder).unlink()
    resume(result.folder, replace(config, agent_settings={"width": 16, "speed": 2.0})).close()
    assert "agent_settings.speed 1.0 -> 2.0" in caplog.text
    assert parse(["--resume", str(result.folder), "--agent", name]).config.agent_settings["speed"] == 2.0
    loaded = SavedRun.read(result.folder).agent(config.clips, device="cpu")
    assert loaded.policy.layer.in_features == 16


def test_runs_that_differ_in_such_a_setting_are_told_apart(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, agent=NAME)
    trials = [Trial(config, tmp_path / "trial")]
    run_trials(trials, jobs=1)
    run_trials(trials, jobs=1)
    other = replace(config, agent_settings={"sizes": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"agent_settings.sizes \[1, 2\], now \[1, 2, 3\]"):
        run_trials([Trial(other, tmp_path / "trial")], jobs=1)
    configs = [replace(PRESETS["demo"], agent_settings=own) for own in ({"a": 1}, {}, {"a": 1, "seed": 2})]
    assert differing(configs) == {"agent_settings.a": [1, None, 1], "agent_settings.seed": [None, None, 2]}
    assert PretrainConfig.from_dict(json.loads(json.dumps(configs[2].as_dict()))) == configs[2]


def test_equal_settings_of_a_run_are_found_again_in_a_table():
    one, two = (PretrainConfig(agent="adamae", agent_settings={"num_heads": 4}) for _ in range(2))
    assert {one: "found"}[two] == "found"


def test_an_arm_of_a_study_may_change_one():
    arm = with_changes(
        PRESETS["demo"], {"agent": "adamae", "agent_settings.num_heads": 4, "agent_settings.dropout": 0.0}
    )
    assert arm == replace(PRESETS["demo"], agent="adamae", agent_settings={"num_heads": 4, "dropout": 0.0})


@pytest.mark.parametrize("command", [compare, sweep])
def test_commands_for_many_agents_take_none(capsys, command):
    words = ["table2"] if command is sweep else ["--agents", "adamae", "random"]
    told = _answer([*words, "--base.agent-settings.dropout", "0"], capsys, command)
    assert "--base.agent-settings.dropout is not to be given here, where each agent has its own defaults" in told
