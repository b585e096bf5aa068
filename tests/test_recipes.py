"""The recipes of CONTRIBUTING.md for agents, datasets, rewards and targets, followed in a copy of this checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tats_gym.runs.checkpoint import load_checkpoint
from tats_gym.runs.folder import read_record
from tests.layouts import write_layout

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n# (\S+\.py)(?:, (in|above) (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A file, where its text goes (all of a new file, into a table or above it), and the text."""
USE = """
import runpy
import sys
import gymnasium
import torch
import tats_gym
from tats_gym.agents import find_agent
from tats_gym.agents.config import preset_for
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.clips import list_videos
from tats_gym.finetune.config import finetune_preset

root = sys.argv[1]
for split in ("train", "validation"):
    found = list_videos("mine", root, split)
    print(found.classes, [video.name for video in found.videos])
try:
    list_videos("mine", root + "/absent")
except FileNotFoundError as err:
    print(err)
config = preset_for("TatsMask-mine-v0")
print(config.env, config.clips.data, config.clips.stride, finetune_preset("TatsMask-mine-v0", "base").clips.data)
settings = {"frames": 4, "size": 32, "stride": 1, "visible": 3, "mae": "tiny", "device": "cpu"}
env = gymnasium.make_vec("TatsMask-mine-v0", num_envs=2, root=root, reward="neg_worst", **settings)
tokens, _ = env.reset(seed=0)
_, rewards, *_, infos = env.step(env.action_space.sample())
errors = infos["final_info"]["errors"]
print(tokens.shape, *(float(-max(row)) == float(reward) for row, reward in zip(errors, rewards, strict=True)))
agent = find_agent("newest")(TokenSelectionVecEnv(env.unwrapped), config)
print(agent.policy.ids_keep(torch.zeros(2, 3, 4, 32, 32), 3).tolist())
env.close()
sys.argv[:2] = ["scripts/train_ppo.py", "--root", root]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TRAIN = (
    "--env TatsMask-mine-v0 --agent newest --reward neg_worst --target colour --frames 4 --size 32 --visible 3 "
    "--mae.embed-dim 64 --mae.depth 1 --mae.num-heads 1 --mae.decoder-embed-dim 32 --mae.decoder-depth 1 "
    "--mae.decoder-num-heads 1 "
    "--stride 1 --num-workers 0 --num-envs 2 --epoch-masks 4 --mae-optim.epochs 2 --mae-optim.warmup-epochs 1 "
    "--eval-clips 2 --eval-masks 1 --device cpu --quiet"
)


@pytest.fixture(name="checkout", scope="module")
def _checkout(tmp_path_factory):
    """A copy of this checkout in which all recipes were followed."""
    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("tats_gym", "envs", "agents", "benchmarks", "scripts"):
        shutil.copytree(ROOT / folder, checkout / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    for file, where, table, text in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()):
        path = checkout / file
        if not where:
            assert not path.exists()
            path.write_text(text)
            continue
        before = path.read_text()
        (place,) = re.finditer(
            rf"^{table}\b.*?\{{\n" if where == "in" else rf"^(?={table}\b)", before, re.DOTALL | re.MULTILINE
        )
        path.write_text(before[: place.end()] + text + before[place.end() :])
    return checkout


def _python(checkout, *arguments):
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(name="used", scope="module")
def _used(checkout, tmp_path_factory):
    """The lines that the extended package prints, and the folder of the run that it trains, in one process."""
    videos = write_layout("ucf101", tmp_path_factory.mktemp("videos"), train=4, classes=2)
    out = tmp_path_factory.mktemp("runs")
    told = _python(checkout, "-c", USE, videos, *TRAIN.split(), "--out", out)
    (run,) = out.iterdir()
    return told.splitlines(), run


def test_each_recipe_is_a_file_or_function_and_a_line():
    found = [block[:3] for block in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())]
    assert found == [
        ("agents/peers/newest.py", "", ""),
        ("agents/registry.py", "in", "AGENTS"),
        ("tats_gym/clips/datasets/mine.py", "", ""),
        ("tats_gym/datasets.py", "in", "DATASETS"),
        ("envs/rewards.py", "above", "REWARDS"),
        ("envs/rewards.py", "in", "REWARDS"),
        ("tats_gym/targets/colour.py", "", ""),
        ("tats_gym/targets/table.py", "in", "TARGETS"),
    ]


def test_the_new_files_keep_the_import_contracts(checkout):
    told = _python(checkout, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())")
    assert "0 broken" in told


def test_the_dataset_is_listed_its_id_pays_the_reward_and_the_agent_masks(used):
    train, validation, absent, preset, stepped, masks = used[0][:6]
    assert train == "('Jump', 'Run') ['Jump/v_Jump_g02_c01.avi', 'Jump/v_Jump_g04_c01.avi', " \
                    "'Run/v_Run_g03_c01.avi', 'Run/v_Run_g05_c01.avi']"  # fmt: skip
    assert validation == "('Jump', 'Run') ['Jump/v_Jump_g00_c01.avi', 'Run/v_Run_g01_c01.avi']"
    assert "for a folder of videos for each class. They come from me." in absent
    assert preset == "TatsMask-mine-v0 mine 3 mine"
    assert stepped == "(2, 8, 128) True True"
    assert masks == "[[5, 6, 7], [5, 6, 7]]"


def test_the_agent_trains_on_the_dataset_with_the_reward_and_the_target(used):
    settings = read_record(used[1])["config"]
    named = [settings[part] for part in ("env", "agent", "reward", "target")]
    assert named == ["TatsMask-mine-v0", "newest", "neg_worst", "colour"]
    assert load_checkpoint(used[1])["mae"]["decoder.head.bias"].shape == (3,)
