"""The recipe for a dataset in CONTRIBUTING.md, followed in a copy of this checkout."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.layouts import write_layout

ROOT = Path(__file__).parent.parent
READER = '''

def read_mine(tree: Tree, part: Part) -> Listing:
    """A folder for each class; the first video of each is held out."""
    found = tree.videos(str)
    classes = tuple(sorted({Path(path).parent.name for path in found.values()}))
    entries = []
    for path in sorted(found.values()):
        name, first = Path(path).parent.name, min(p for p in found.values() if Path(p).parent == Path(path).parent)
        if (path == first) == (part.split != "train"):
            entries.append(Entry(path, Path(path), classes.index(name)))
    return Listing(classes, entries)
'''
ADDED = {  # file: (before, what stands there then)
    "tats_gym/clips/datasets/registry.py": [
        ("import read_hmdb51, ", "import read_hmdb51, read_mine, "),
        ('"demo": Layout(read_ssv2', '"mine": Layout(read_mine, SPLITS[:2]),\n        "demo": Layout(read_ssv2'),
    ],
    "tats_gym/clips/paths.py": [('    "demo": (', '    "mine": ("a folder for each class", "me"),\n    "demo": (')],
    "tats_gym/registration.py": [('    "demo": {', '    "mine": {"stride": 3},\n    "demo": {')],
}
USE = """
import sys
import gymnasium
import tats_gym
from tats_gym.agents.config import preset_for
from tats_gym.agents.training.pretraining import Pretraining
from dataclasses import replace
from tats_gym.clips import list_videos
from tats_gym.finetune.config import finetune_preset
from tats_gym.tokens import TokenGrid
from tats_gym.model.videomae import MAE_PRESETS

root, out = sys.argv[1:]
print(list_videos("mine", root).classes, len(list_videos("mine", root)), len(list_videos("mine", root, "validation")))
try:
    list_videos("mine", root + "/absent")
except FileNotFoundError as err:
    print(err)
config = preset_for("TatsMask-mine-v0")
print(config.env, config.clips.data, config.clips.stride, finetune_preset("TatsMask-mine-v0", "base").clips.data)
clips = replace(config.clips, root=root, num_workers=0, stride=1)
grid = TokenGrid(frames=4, size=32, visible=3)
run = Pretraining(replace(config, out=out, num_envs=2, clips=clips, grid=grid, mae=MAE_PRESETS["tiny"], device="cpu"))
print(run.env.reset().shape)
run.close()
"""


def test_the_recipe_for_a_dataset_gives_an_id_that_lists_and_trains(tmp_path):
    checkout, videos = tmp_path / "checkout", write_layout("ucf101", tmp_path / "videos", train=4, classes=2)
    for package in ("tats_gym", "envs", "agents"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    recipe = (ROOT / "CONTRIBUTING.md").read_text()
    official = checkout / "tats_gym/clips/datasets/official.py"
    official.write_text(official.read_text() + READER)
    for file, changes in ADDED.items():
        assert f"`{file}`" in recipe
        text = (checkout / file).read_text()
        for before, after in changes:
            assert text.count(before) == 1, (file, before)
            text = text.replace(before, after)
        (checkout / file).write_text(text)
    assert sorted({*ADDED, "tats_gym/clips/datasets/official.py"}) == sorted(
        re.findall(r"^\d\..*?`(tats_gym/[^`]*)`", recipe, re.M)
    )
    command = [sys.executable, "-c", USE, str(videos), str(tmp_path / "runs")]
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    listed, absent, preset, shape = run.stdout.splitlines()
    assert listed == "('Jump', 'Run') 4 2"
    assert "for a folder for each class. They come from me." in absent
    assert preset == "TatsMask-mine-v0 mine 3 mine"
    assert shape == "(2, 8, 128)"
