"""--config: settings of any command from a file, a run's config.json among them, below the options on its line."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tyro

from tats_gym.agents import find_agent
from tats_gym.agents.config import PRESETS, preset_for
from tats_gym.agents.experiments.comparison.compare import CompareCommand, defaults_for
from tats_gym.agents.experiments.studies.named import StudyConfig
from tats_gym.agents.requirements import resolve_settings
from tats_gym.benchmarks.data import DataConfig
from tats_gym.clips.games.config import RecordConfig
from tats_gym.commands.export import ExportConfig
from tats_gym.commands.line.parsing import CommandLine
from tats_gym.commands.record import RecordCommand
from tats_gym.commands.train import main, parse
from tats_gym.finetune.config import finetune_preset
from tats_gym.probe.records import ProbeCommand
from tats_gym.runs.folder import begin_run
from tests.runs import load_command, tiny_config

YAML = """
agent: tats
num_envs: 8
epoch_masks: null
train_mae: no
mae_optim:
  base_lr: 1e-3
  betas: [0.8, 0.9]
"""
WORDS = [
    "--agent", "tats", "--num-envs", "8", "--epoch-masks", "None", "--no-train-mae", "--mae-optim.base-lr", "0.001",
    "--mae-optim.betas", "0.8", "0.9",
]  # fmt: skip


@pytest.fixture(name="file")
def _file(tmp_path):
    """Writes settings to a file, as its name asks for, and returns the words that name it."""

    def write(values, name="settings.json") -> list[str]:
        path = tmp_path / name
        path.write_text(values if isinstance(values, str) else json.dumps(values, default=str))
        return ["--config", str(path)]

    return write


@pytest.mark.parametrize("name", ["settings.yaml", "settings.yml", "settings.json"])
def test_a_file_is_the_same_as_its_options(file, name):
    as_json = {
        "agent": "tats", "num_envs": 8, "epoch_masks": None, "train_mae": False,
        "mae_optim": {"base_lr": 0.001, "betas": [0.8, 0.9]},
    }  # fmt: skip
    words = file(as_json if name.endswith("json") else YAML, name)
    assert parse(words) == parse(WORDS)
    assert parse([*words, "--num-envs", "4", "--mae-optim.base-lr", "1"]) == parse(
        [*WORDS, "--num-envs", "4", "--mae-optim.base-lr", "1"]
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_a_file_of_all_its_settings(file, name):
    assert parse(file(PRESETS[name].as_dict())).config == PRESETS[name]


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (ExportConfig, ExportConfig(run=Path("a"), format="sampler", out=Path("b"))),
        (ProbeCommand, ProbeCommand(encoder=("tiny", "base"), out=Path("c"), add=(Path("d"),), subset=0.5)),
        (StudyConfig, StudyConfig("decoder", arms=("all decoded",), seeds=2)),
        (RecordCommand, RecordCommand(record=RecordConfig(env=("a", "b")), out=Path("c"))),
        (DataConfig, DataConfig(kinds=("vp9",), root=Path("a"))),
        (CompareCommand, CompareCommand(base=PRESETS["folder"], probing=defaults_for("TatsMask-folder-v0")[1])),
    ],
)
def test_settings_of_every_kind_come_back(file, kind, made):
    assert CommandLine(file(asdict(made)), "tats-gym", "").settings(kind) == made


def test_the_home_of_a_path_is_the_users_as_in_a_shell(file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = file({"root": "~/videos", "out": "~/page.json", "encoder": ["tiny"], "env": "TatsMask-list-v0"})
    command = CommandLine(words, "tats-gym", "").settings(ProbeCommand)
    assert (command.clips.root, command.out) == (str(tmp_path / "videos"), tmp_path / "page.json")


def test_required_settings_may_stand_in_the_file_or_among_the_words(file):
    words = file({"run": "a", "format": "hf"})
    wanted = ExportConfig(run=Path("a"), format="hf", out=Path("c"))
    assert CommandLine([*words, "--out", "c"], "tats-gym", "").settings(ExportConfig) == wanted
    wanted = replace(wanted, run=Path("b"))
    assert CommandLine([*words, "b", "--out", "c"], "tats-gym", "").settings(ExportConfig) == wanted
    with pytest.raises(SystemExit):
        CommandLine(words, "tats-gym", "").settings(ExportConfig)


def test_the_options_that_choose_the_defaults_may_stand_in_the_file(file):
    words = file({"env": "TatsMask-ucf101-v0", "preset": "folder", "seed": 3})
    assert parse(words).config == replace(preset_for("TatsMask-ucf101-v0", "folder"), seed=3)
    other = replace(preset_for("TatsMask-hmdb51-v0", "demo"), seed=3)
    assert parse([*words, "--env", "TatsMask-hmdb51-v0", "--preset", "demo"]).config == other


@pytest.mark.parametrize("agent", ["group", "sac", "random"])
def test_a_runs_own_file_starts_another_run_with_its_settings(clips_root, tmp_path, agent):
    asked = tiny_config(clips_root, tmp_path / "out", agent=agent, seed=5)
    begin_run(tmp_path / "run", resolve_settings(asked, find_agent(agent)).as_dict())
    words = ["--config", str(tmp_path / "run" / "config.json")]
    options = parse(words)
    assert (options.resume, options.folder) == (None, None)
    assert options.config == asked
    assert parse([*words, "--seed", "6", "--agent", "tats"]).config == replace(asked, seed=6, agent="tats")
    moved = parse([*words, "--env", "TatsMask-ucf101-v0"]).config
    assert (moved.env, moved.clips) == ("TatsMask-ucf101-v0", replace(asked.clips, data="ucf101"))


def test_a_fine_tuning_starts_from_the_file_of_another(tmp_path, monkeypatch, capsys):
    command = load_command("finetune")
    begun = []
    monkeypatch.setattr(command, "_train", lambda config, *_: begun.append(config) or 0)
    config = replace(finetune_preset("TatsMask-demo-v0", "tiny"), seed=4)
    begin_run(tmp_path / "run", config.as_dict())
    words = ["--config", str(tmp_path / "run" / "config.json")]
    assert command.main([*words, "--batch-size", "3"]) == 0
    assert begun == [replace(config, batch_size=3)]
    assert main(words) == 1
    assert "is of a fine-tuning run, not of a pre-training run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"agnt": "tats"}, "there is no setting agnt; did you mean 'agent'?"),
        ({"mask_ratio": 0.9}, "there is no setting mask_ratio; write mask_ratio within grid"),
        ({"grid.mask-ratio": 0.9}, "there is no setting grid.mask-ratio; write mask_ratio within grid"),
        ({"mae_optim": {"xyzzy": 1}}, "there is no setting mae_optim.xyzzy; --help lists them"),
        ({"seed": "three"}, "seed must be a whole number, got 'three'"),
        ({"grid": [1]}, r"grid must be an object of settings, got \[1\]"),
        ({"mae_optim": {"betas": [0.9]}}, r"mae_optim.betas must have 2 values, got \[0.9\]"),
        ({"reward": "gian"}, "reward must be one of neg_error, error, gain; got 'gian'; did you mean 'gain'?"),
        ({"seed": -1}, r"seed must lie in \[0, 2\*\*32\), got -1"),
        ({"grid": {"frames": 15}}, "frames must be a multiple of tubelet_size"),
        ({"env": 3}, "env must be text, got 3"),
        ({"env": "TatsMask-dmo-v0"}, "--env must be one of .*; did you mean 'TatsMask-demo-v0'?"),
        ([1], r"settings.json must hold an object of settings, got \[1\]"),
        ("{", "settings.json is not valid JSON: "),
        ("[" * 100_000, "settings.json is not valid JSON: "),
        ({"agent": "crafted:build"}, "give --agent crafted:build to allow it"),
    ],
)
def test_a_wrong_file_is_answered_with_the_setting_and_its_rule(file, capsys, values, message):
    assert re.search(message, _answer(file(values), capsys))


def _answer(words, capsys):
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr()
    assert code in (1, 2)
    return re.sub(r"[│╭╮╰╯─\s]+", " ", shown.err + shown.out)


def test_a_file_runs_no_code(file, tmp_path, capsys):
    ran = tmp_path / "it ran"
    words = file(
        f"agent: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{ran}']]\n", "a.yaml"
    )
    assert "a.yaml is not valid YAML: could not determine a constructor for the tag" in _answer(words, capsys)
    assert not ran.exists()


def test_a_file_that_cannot_be_read_is_named_with_a_way_out(file, tmp_path, capsys):
    file("a: [", "broken.yaml")
    file({}, "text.txt")
    begin_run(tmp_path / "run", {"agent": "tats"})
    for name, message in {
        "broken.yaml": "broken.yaml is not valid YAML: ",
        "text.txt": "must name a .json, .yaml or .yml file",
        "brokn.yaml": "there is no .*; did you mean 'broken.yaml'?",
        "run": "; the settings of its run are in .*run/config.json",
    }.items():
        assert re.search(message, _answer(["--config", str(tmp_path / name)], capsys))


def test_options_that_would_be_without_effect_beside_it_are_refused(clips_root, file, tmp_path, capsys):
    begin_run(tmp_path / "run", tiny_config(clips_root, tmp_path).as_dict())
    run = str(tmp_path / "run")
    assert "--resume goes on with the run's own settings" in _answer(["--resume", run, *file({})], capsys)
    words = ["--config", f"{run}/config.json", "--preset", "demo"]
    assert "--preset demo has no effect beside" in _answer(words, capsys)


def test_required_settings_that_the_file_lacks_stay_missing_for_the_parser(file):
    made = CommandLine(file({"format": "hf"}), "tats-gym", "").file.over(ExportConfig, None)
    assert made.format == "hf"
    assert made.run is made.out is tyro.MISSING
