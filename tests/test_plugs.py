"""docs/plugs.md's parts and docs/data.md's dataset, as a package that is built, installed and checked."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tats_gym import contracts
from tats_gym.datasets import DATASETS
from tats_gym.envs.rewards import Reward, find_reward
from tats_gym.model.videomae import MAE_PRESETS, MaskedAutoencoder
from tats_gym.runs.checkpoint import load_checkpoint
from tats_gym.runs.folder import read_record
from tests.layouts import write_layout
from tests.packages import FILES, install

ROOT = Path(__file__).resolve().parent.parent
TRAIN = (
    "--stride 1 --num-workers 0 --num-envs 4 --epoch-masks 8 --mae-optim.epochs 1 --mae-optim.warmup-epochs 0 "
    "--tats.warmup-epochs 0 --eval-clips 2 --eval-masks 1 --quiet --device cpu --preset folder --agent random"
)


@pytest.fixture(name="installed", scope="module")
def _installed(tmp_path_factory):
    """The folder in which the pages' package is installed, with a dataset as a third kind of part."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("plugs.md", "data.md"))
    files = dict(FILES.findall(pages))
    parts = ["my_parts/changes.py", "my_parts/colours.py", "my_parts/rewards.py"]
    assert sorted(files) == ["arrays.py", *parts, "pyproject.toml"]
    files["pyproject.toml"] += '\n[project.entry-points."tats_gym.datasets"]\narrays = "arrays:DATASET"\n'
    files["pyproject.toml"] += '\n[tool.setuptools]\npackages = ["my_parts"]\npy-modules = ["arrays"]\n'
    install(files, source, target)
    archives = target / "archives"
    archives.mkdir()
    rng = np.random.default_rng(0)
    np.savez(archives / "a", **{f"clip{i}": rng.integers(256, size=(20, 40, 48, 3), dtype=np.uint8) for i in range(12)})
    return target


def python(installed, *words, **settings):
    """Run Python where the package is installed."""
    environment = {
        "PYTHONPATH": str(installed),
        "OMP_NUM_THREADS": "1",
        "PATH": "/usr/bin:/bin",
        "HOME": str(installed),
    }
    return subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True, check=False, **settings
    )


def test_a_package_trains_on_its_dataset_with_its_reward_by_their_names(installed, tmp_path):
    words = f"--env TatsMask-arrays-v0 --reward log_gain --root {installed / 'archives'} {TRAIN} --out {tmp_path}"
    done = python(installed, "-m", "tats_gym", "train", *words.split())
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.iterdir()
    settings = read_record(run)["config"]
    assert (settings["env"], settings["reward"]) == ("TatsMask-arrays-v0", "log_gain")
    more = python(installed, "-m", "tats_gym", "train", "--resume", run, "--mae-optim.epochs", "2")
    assert more.returncode == 0, more.stderr


def test_a_module_is_named_again_where_its_run_is_resumed(installed, tmp_path):
    by_path = f"--env arrays:TatsMask-arrays-v0 --reward my_parts.rewards:neg_worst --root {installed / 'archives'}"
    done = python(installed, "-m", "tats_gym", "train", *f"{by_path} {TRAIN} --out {tmp_path}".split())
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.iterdir()
    refused = python(installed, "-m", "tats_gym", "train", "--resume", run)
    assert refused.returncode == 1
    assert "give --reward my_parts.rewards:neg_worst to allow it" in refused.stderr
    words = ("--env", "arrays:TatsMask-arrays-v0", "--reward", "my_parts.rewards:neg_worst", "--mae-optim.epochs", "2")
    more = python(installed, "-m", "tats_gym", "train", "--resume", run, *words)
    assert more.returncode == 0, more.stderr


def test_the_pages_mae_is_trained_by_the_command_and_goes_on_where_it_is_named_again(installed, tmp_path):
    mae = ("--own-mae", "my_parts.colours:Colours")
    words = f"--env TatsMask-arrays-v0 --root {installed / 'archives'} {TRAIN} --out {tmp_path}".split()
    done = python(installed, "-m", "tats_gym", "train", *words, *mae)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.iterdir()
    refused = python(installed, "-m", "tats_gym", "train", "--resume", run)
    assert refused.returncode == 1
    assert "give --own-mae my_parts.colours:Colours to allow it" in refused.stderr
    before = load_checkpoint(run)["mae"]
    more = python(installed, "-m", "tats_gym", "train", "--resume", run, *mae, "--mae-optim.epochs", "2")
    assert more.returncode == 0, more.stderr
    after = load_checkpoint(run)["mae"]
    assert sorted(after) == ["predict.bias", "predict.weight"]
    assert not torch.equal(before["predict.weight"], after["predict.weight"])


def test_the_parts_keep_the_contracts(installed):
    code = (
        "from tats_gym.contracts import check_dataset, check_mae, check_reward, check_target\n"
        "from my_parts.colours import Colours\n"
        "check_reward('neg_worst'); check_reward('my_parts.rewards:log_gain'); check_mae(Colours)\n"
        "check_target('my_parts.changes:Changes')\n"
        f"check_dataset('TatsMask-arrays-v0', {str(installed / 'archives')!r})\n"
    )
    done = python(installed, "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["neg_error", "error", "gain"])
def test_our_rewards_keep_the_contract(name):
    contracts.check_reward(name)


def test_our_mae_keeps_the_contract(demo_root, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(demo_root.parent))
    contracts.check_mae(lambda grid: MaskedAutoencoder(MAE_PRESETS["tiny"], grid))


@pytest.mark.parametrize("data", [name for name in DATASETS if name not in ("demo", "atari")])
def test_our_datasets_keep_the_contract(tmp_path, data):
    contracts.check_dataset(f"TatsMask-{data}-v0", write_layout(data, tmp_path, train=12, validation=2))


def no_reward(errors):
    return errors


def changing(errors):
    return errors.add_(1).mean(1)


def of_the_batch(errors):
    return errors.mean(1) - errors.mean()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("no_reward", r"must return one number a clip, \(B,\), got the shape \(6, 5\)"),
        ("changing", "must return the same for the same errors"),
        ("of_the_batch", "must not depend on the other clips"),
    ],
)
def test_a_reward_that_breaks_a_rule_is_told_which(monkeypatch, name, rule):
    module = type(sys)("breaks")
    setattr(module, name, globals()[name])
    monkeypatch.setitem(sys.modules, "breaks", module)
    with pytest.raises(AssertionError, match=rule):
        contracts.check_reward(f"breaks:{name}")


def test_names_of_rewards_that_are_none_are_answered(monkeypatch):
    with pytest.raises(ValueError, match=r"reward must be one of neg_error, error, gain.*did you mean 'gain'"):
        find_reward("gian")
    with pytest.raises(ValueError, match="No module named 'nowhere'"):
        find_reward("nowhere:reward")
    monkeypatch.setitem(sys.modules, "odd", type(sys)("odd"))
    sys.modules["odd"].number = 3
    with pytest.raises(TypeError, match="odd:number must be a Reward or a function of errors, got 3"):
        find_reward("odd:number")
    sys.modules["odd"].mean = torch.mean
    assert isinstance(find_reward("odd:mean"), Reward)


def test_without_assert_statements_there_are_no_checks_to_pass():
    done = subprocess.run(
        [sys.executable, "-O", "-c", "import tats_gym.contracts"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "run without -O" in done.stderr
