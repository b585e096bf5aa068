"""A run's command gives its settings back."""

import re
import shlex
from dataclasses import replace

import pytest
import torch

from tats_gym.agents import find_agent
from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.experiments.trials.variations import with_changes
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.training.command_line import command_for, differing
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.train import parse as parse_training
from tats_gym.train.signals import PreemptedError, StoppedError

LESS = "take fewer clips at once, or a smaller model"
CHANGES = [
    {},
    {"agent": "group", "masks_per_clip": 8, "seed": 3},
    {"clips.root": "/data/some videos", "clips.flip": True, "clips.cache_windows": 2},
    {"grid.visible": 5, "grid.mask_ratio": 0.9, "clips.subset": 0.1},
    {"tats.reuse_scores": False, "tats.n_epochs": 4, "train_mae": False, "init_mae": "runs/a b"},
    {"mae_optim.betas": (0.8, 0.9), "mae_optim.epochs": 100, "sampler.width": 192, "sampler.critic": "pooled"},
    {"mae.depth": 2, "recompute": True, "eval_interval": None, "tats.batch_size": 16},
]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (ValueError("it is wrong"), 1, "error: it is wrong\n"),
        (MemoryError("too much"), 1, f"error: memory does not suffice (too much); {LESS}\n"),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            1,
            f"error: memory does not suffice (CUDA out of memory.); {LESS}\n",
        ),
        (StoppedError("go on"), 130, "stopped: go on\n"),
        (StoppedError("go on", 75), 75, "stopped: go on\n"),
        (KeyboardInterrupt(), 130, "stopped; give the same command again to go on\n"),
        (PreemptedError(), 75, "stopped; give the same command again to go on\n"),
    ],
)
def test_how_a_command_ends(capsys, error, code, message):
    def run():
        if error:
            raise error

    assert exit_code(run) == code
    assert capsys.readouterr().err == message


def test_an_allocation_that_torch_cannot_make_is_told_in_one_line(capsys):
    assert exit_code(lambda: torch.empty(10**15), how_to_take_less="--num-envs takes less") == 1
    told = capsys.readouterr().err
    assert re.fullmatch(r"error: memory does not suffice \(.*can't allocate memory.*\); --num-envs takes less\n", told)


def test_an_error_that_is_not_explained_is_raised():
    def run():
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        exit_code(run)


@pytest.fixture(scope="module", name="parse")
def _parse():
    def parse(command: str) -> PretrainConfig:
        words = shlex.split(command)
        assert words[:3] == ["tats-gym", "train", "--env"]
        return parse_training(words[2:]).config

    return parse


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("preset", ["paper-k400", "folder"])
def test_the_command_gives_the_settings_back(parse, preset, changes):
    config = with_changes(PRESETS[preset], changes)
    assert parse(command_for(config)) == config


@pytest.mark.parametrize("agent", ["tats", "group", "sac"])
def test_the_needs_of_an_agent_are_left_to_it(parse, agent):
    config = replace(PRESETS["demo"], agent=agent)
    ran = resolve_settings(config, find_agent(agent))
    words = [] if agent == "group" else [f" --agent {agent}"]
    assert command_for(ran) == "tats-gym train --env TatsMask-demo-v0" + "".join(words)
    assert resolve_settings(parse(command_for(ran)), find_agent(agent)) == ran
    assert "--masks-per-clip 2" in command_for(replace(ran, masks_per_clip=2))


def test_where_a_run_lies_and_is_watched_is_no_part_of_its_command():
    config = replace(PRESETS["demo"], out="elsewhere", quiet=True, device="cuda:1")
    assert command_for(config) == "tats-gym train --env TatsMask-demo-v0"


def test_settings_that_differ_are_named_with_the_value_of_each_run():
    configs = [
        with_changes(PRESETS["demo"], {"out": str(seed), "seed": seed, "tats.ent_coef": 1 / (1 + seed)})
        for seed in (0, 1)
    ]
    assert differing(configs) == {"seed": [0, 1], "tats.ent_coef": [1.0, 0.5]}
    assert differing(configs[:1]) == {}
