"""A run's folder: one process at a time, and whole files."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest
import torch

from tats_gym.runs.checkpoint import save_checkpoint
from tats_gym.runs.folder import begin_run, read_record
from tats_gym.runs.lock import RunLock, lock_for_training
from tats_gym.runs.metrics import drop_metrics_after, read_metrics
from tats_gym.train.distributed import Ranks

ALONE = Ranks.alone("cpu")


def test_a_folder_is_one_process_s_until_that_has_ended_in_any_way(tmp_path, monkeypatch):
    monkeypatch.setattr("tats_gym.runs.lock.WAIT_S", 0.3)
    code = (
        "import sys, time; from pathlib import Path; from tats_gym.runs.lock import RunLock\n"
        "held = RunLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=r"another process trains in .*run; wait until it has ended, stop it"):
            RunLock(tmp_path / "run")
        other.kill()
    lock = RunLock(tmp_path / "run")
    begin_run(tmp_path / "run", {"seed": 0})
    with pytest.raises(ValueError, match="another process trains in"):
        RunLock(tmp_path / "run")
    lock.release()
    lock.release()
    RunLock(tmp_path / "run").release()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_files_cannot_be_locked_it_says_so_and_goes_on(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    RunLock(tmp_path).release()
    assert "do not train there in two processes" in caplog.text


@pytest.mark.parametrize("text", ["", "{", '{"config": {"seed"', "[]", '{"seed": 0}', "[" * 100_000])
def test_a_damaged_description_of_a_run_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json(: it is not valid JSON| must hold an object)"):
        read_record(tmp_path)


def test_a_run_begins_where_another_was_killed_before_it_had_begun(tmp_path):
    (tmp_path / ".config.json.0123").write_text('{"conf')
    begin_run(tmp_path, {"seed": 3})
    assert read_record(tmp_path)["seed"] == 3
    for name in ("metrics.jsonl", "replaced_clips.jsonl"):
        (tmp_path / name).write_text("{}\n")
    begin_run(tmp_path, {"seed": 4})
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl"] == []
    (tmp_path / "config.json").unlink()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"neither empty nor a run's folder: there is no config\.json"):
        begin_run(tmp_path, {"seed": 3})


def test_an_error_while_a_run_is_built_lets_go_of_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tats_gym.runs.lock.WAIT_S", 0.0)
    with pytest.raises(MemoryError) as error, lock_for_training(tmp_path, ALONE):
        raise MemoryError
    with lock_for_training(tmp_path, ALONE) as lock:
        assert lock is not None
    with pytest.raises(ValueError, match="another process trains in"):
        RunLock(tmp_path)
    lock.release()
    assert error.traceback  # which held on to the first
    with lock_for_training(tmp_path, Ranks(1, 2, torch.device("cpu"))) as other:
        assert other is None


def test_metrics_are_cut_back_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(5)) + '{"step": 5, "mae/lo')

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="No space"):
            drop_metrics_after(tmp_path, 2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2, 3, 4]
    drop_metrics_after(tmp_path, 2)
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n{"step": 2}\n'
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_similar_names_are_suggested_where_there_is_no_run(tmp_path):
    run = tmp_path / "runs" / "ssv2-1"
    begin_run(run, {"seed": 0})
    save_checkpoint(run / "checkpoints", 8, {"config": {"seed": 0}}, keep=2)
    for near in (run / "checkpoints", run / "checkpoints" / "step-000000000008.pt"):
        with pytest.raises(FileNotFoundError, match=f"; its run is {run}$"):
            read_record(near)
    with pytest.raises(FileNotFoundError, match=r"; there are runs within it: 'ssv2-1'$"):
        read_record(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match=r"; did you mean 'ssv2-1'\?$"):
        read_record(tmp_path / "runs" / "ssv2-2")
