"""Checkpoints: whole or not at all, and nothing in them is run."""

import pickle

import pytest
import torch

from tats_gym import checkpoint
from tats_gym.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint


def test_what_is_saved_is_loaded(tmp_path):
    state = {"weights": {"a": torch.arange(3.0)}, "step": 5, "name": "x", "betas": [0.9, 0.95]}
    path = save_checkpoint(tmp_path / "checkpoints", 5, state)
    for source in (path, tmp_path, tmp_path / "checkpoints"):
        loaded = load_checkpoint(source)
        assert torch.equal(loaded["weights"]["a"], state["weights"]["a"])
        assert loaded["step"] == 5


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 20, 3, 100):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert [load_checkpoint(path)["step"] for path in sorted(tmp_path.iterdir())] == [20, 100]
    assert load_checkpoint(latest_checkpoint(tmp_path))["step"] == 100


def test_a_failed_write_leaves_the_last_good_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, {"step": 1})

    def fill_the_disk(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, {"step": 2}, keep=1)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000001.pt"]
    assert load_checkpoint(tmp_path)["step"] == 1


class Crafted:
    """Would create a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_crafted_file_runs_nothing(tmp_path):
    target, path = tmp_path / "it ran", tmp_path / "step-1.pt"
    torch.save({"mae": Crafted(target)}, path)
    with pytest.raises(CheckpointError, match="not a whole checkpoint of plain tensors"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Crafted(target), protocol=2))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not target.exists()


def test_half_a_checkpoint_is_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="may be half-written"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="may be half-written"):
        load_checkpoint(path)


def test_nothing_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "no.pt")
    torch.save([1], tmp_path / "step-1.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint(tmp_path)
