"""Checkpoints: whole or not at all, checked when loaded, and their content is never run as code."""

import errno
import logging
import os
import pickle

import pytest
import torch

from tats_gym.encoders.find import EncoderSource
from tats_gym.runs import checkpoint
from tats_gym.runs.checkpoint import (
    CheckpointError,
    has_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)
from tats_gym.train.distributed import Ranks

ALONE = Ranks.alone("cpu")


def test_saved_values_are_loaded(tmp_path):
    state = {"weights": {"a": torch.arange(3.0)}, "step": 5, "name": "x", "betas": [0.9, 0.95]}
    path = save_checkpoint(tmp_path / "checkpoints", 5, state, keep=2)
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
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=2)

    def fill_the_disk(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, {"step": 2}, keep=1)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000001.pt"]
    assert load_checkpoint(tmp_path)["step"] == 1


def test_one_older_checkpoint_in_so_many_hours_is_kept(tmp_path):
    for step in range(1, 9):
        path = save_checkpoint(tmp_path, step, {"step": step}, keep=2, keep_hours=3)
        os.utime(path, (0, 3600 * step))
    assert [int(path.stem[5:]) for path in sorted(tmp_path.iterdir())] == [1, 4, 7, 8]


def test_a_killed_process_s_half_written_file_is_no_checkpoint_and_is_cleared_away(tmp_path):
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=2)
    (tmp_path / "step-000000000007.partial").write_bytes(b"half of it")
    assert load_checkpoint(tmp_path)["step"] == 1
    save_checkpoint(tmp_path, 2, {"step": 2}, keep=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-000000000001.pt", "step-000000000002.pt"]


def test_a_full_disk_is_an_error_of_the_system_though_torch_hides_it(tmp_path, monkeypatch):
    def fill_the_disk(state, file):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 640 vs 534\nmore")

    monkeypatch.setattr(checkpoint.torch, "save", fill_the_disk)
    with pytest.raises(OSError, match=r"step-000000000002\.pt could not be written; the disk may be full: .* vs 534$"):
        save_checkpoint(tmp_path, 2, {"step": 2}, keep=2)


def _same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("bits", [0xFF, 0x10])
def test_no_damage_of_a_byte_changes_the_loaded_values(tmp_path, bits):
    state = {"weights": {"a": torch.arange(50.0), "b": torch.ones(3, dtype=torch.bfloat16)}, "step": 5, "name": "x"}
    path = save_checkpoint(tmp_path, 5, state, keep=2)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 2):
        damaged = bytearray(whole)
        damaged[place] ^= bits
        path.write_bytes(damaged)
        try:
            assert _same(load_checkpoint(path), state), place
        except CheckpointError:
            refused += 1
    assert refused > len(whole) / 4  # the rest is padding between the parts, and unread fields


def test_damage_in_the_newest_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, caplog):
    for step in (1, 2, 3):
        save_checkpoint(
            tmp_path / "checkpoints", step, {"weights": torch.full((100,), float(step)), "step": step}, keep=3
        )
    paths = sorted((tmp_path / "checkpoints").iterdir())
    for path, place in ((paths[2], 300), (paths[1], -300)):
        content = bytearray(path.read_bytes())
        content[len(content) // 2 if place > 0 else place] ^= 1
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert load_newest(tmp_path, ALONE)["step"] == 1
    assert [str(path) in message for path, message in zip(paths[:0:-1], caplog.messages, strict=True)] == [True, True]
    save_checkpoint(tmp_path / "checkpoints", 2, {"step": 2}, keep=1)
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"step-000000000002.damaged", "step-000000000002.pt", "step-000000000003.damaged"}
    (tmp_path / "checkpoints" / "step-000000000002.pt").write_bytes(b"")
    for _ in range(2):  # else the same command, given again, would begin a run over the old one
        with pytest.raises(CheckpointError, match=r"no checkpoint in .*checkpoints is whole; begin the run anew"):
            load_newest(tmp_path, ALONE)
        assert has_checkpoint(tmp_path)


def test_a_checkpoint_that_was_just_written_is_kept_beside_any_other_files(tmp_path):
    save_checkpoint(tmp_path, 200, {"step": 200}, keep=2)
    path = save_checkpoint(tmp_path, 150, {"step": 150}, keep=1)
    assert path.exists()


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale file handle"), RuntimeError("can't allocate memory")])
def test_a_disk_that_does_not_answer_and_too_little_memory_are_no_damage(tmp_path, monkeypatch, error):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "load", fail)
        with pytest.raises(OSError, match=r"Stale file handle|memory does not suffice to load it"):
            load_newest(tmp_path, ALONE)
    assert load_newest(tmp_path, ALONE)["step"] == 2


def test_all_processes_take_the_checkpoint_that_the_first_one_chose(tmp_path, monkeypatch):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    chosen = tmp_path / "step-000000000001.pt"
    monkeypatch.setattr(checkpoint, "broadcast", lambda path: chosen)
    assert load_newest(tmp_path, Ranks(1, 2, torch.device("cpu")))["step"] == 1


class Crafted:
    """Would make a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_crafted_file_runs_no_code(tmp_path):
    target, path = tmp_path / "it ran", tmp_path / "step-1.pt"
    torch.save({"mae": Crafted(target)}, path)
    with pytest.raises(CheckpointError, match="not a whole checkpoint of plain tensors"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Crafted(target), protocol=2))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not target.exists()


@pytest.mark.parametrize("kept", [1, 4000, 4097, 20_000, -1])
def test_a_checkpoint_cut_anywhere_is_named_and_the_one_before_is_taken(tmp_path, kept):
    for step in (1, 2):
        path = save_checkpoint(tmp_path, step, {"step": step, "weights": torch.zeros(10_000)}, keep=2)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="may be half-written"):
        load_checkpoint(path)
    assert load_newest(tmp_path, ALONE)["step"] == 1


def test_half_a_checkpoint_is_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"weights": torch.zeros(1000)}, keep=2)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="may be half-written"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="may be half-written"):
        load_checkpoint(path)


def test_an_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "no.pt")
    torch.save([1], tmp_path / "step-1.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint(tmp_path)


def test_the_error_about_a_damaged_newest_checkpoint_names_an_older_whole_one(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path / "checkpoints", step, {"step": step}, keep=3)
    one, two, three = sorted((tmp_path / "checkpoints").iterdir())
    for path in (two, three):
        path.write_bytes(path.read_bytes()[:-5])
    for given, read in ((tmp_path, load_checkpoint), (three, load_checkpoint), (tmp_path, EncoderSource.find)):
        with pytest.raises(
            CheckpointError, match=rf"{three.name} is not a whole.*\. .*{one.name} is whole: name that one$"
        ):
            read(given)
    one.unlink()
    with pytest.raises(CheckpointError, match=rf"{three.name} is not a whole") as caught:
        load_checkpoint(tmp_path)
    assert "is whole: name" not in str(caught.value)
