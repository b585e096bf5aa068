"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of this checkout."""

import json
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
ENTER = """
import shlex
import sys
from functools import partial
from tats_gym.agents.experiments.bench import bench
from tats_gym.agents.experiments.bench.tasks import TASKS, Task
from tats_gym.agents.experiments.comparison.compare import run_comparison
from tats_gym.commands import main
from tests.runs import tiny_config

videos, *commands = sys.argv[1:]
base = tiny_config(videos, "unused")
TASKS["demo-10"] = Task(about="a few clips", base=base, forwards=32, ranked_by="reference_gain")
bench.run_comparison = partial(run_comparison, own_process=False)
for command in commands:
    program, *words = shlex.split(command)
    print(program, main([*words, "--jobs", "1"]))
"""
"""Runs the commands of the recipe for the leaderboard on a small task."""


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
    environment = os.environ | {"PYTHONPATH": f"{checkout}:{ROOT}", "OMP_NUM_THREADS": "1"}
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


def test_an_entry_of_the_leaderboard_is_made_by_its_commands(checkout, clips_root):
    (checkout / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "index.md", checkout / "docs")
    (block,) = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    told = _python(checkout, "-c", ENTER, clips_root, *block.splitlines())
    assert [line for line in told.splitlines() if line.startswith("tats-gym")] == ["tats-gym 0", "tats-gym 0"]
    entry = json.loads((checkout / "benchmarks" / "leaderboard" / "demo-10" / "newest.json").read_text())
    assert (entry["method"], entry["seeds"], len(entry["rows"])) == ("newest", [0, 1, 2, 3, 4], 5)
    page = (checkout / "docs" / "leaderboard.md").read_text()
    assert "| `newest` | 5 |" in page.split("## demo-10, version 1")[1].split("## games-05")[0]
