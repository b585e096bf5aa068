"""Work is shared by processes, and none of it is lost when one of them ends."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tats_gym.jobs.parallel import ProcessDiedError, default_jobs, side_by_side
from tats_gym.train.signals import StoppedError, stop_on_signal

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.long


def process_of(item: int) -> int:
    return os.getpid()


def meet(folder_and_item: tuple[str, int]) -> int:
    """Return once the other process is here too."""
    folder, item = folder_and_item
    (Path(folder) / f"{item}").touch()
    deadline = time.monotonic() + 60
    while not (Path(folder) / f"{1 - item}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return os.getpid()


def fail_at_one(item: int) -> int:
    if item == 1:
        raise ValueError("one is wrong")
    return item


def die_at_two(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return fail_at_one(item)


def train(folder: str) -> None:
    """Count until asked to stop, then save."""
    asked = []
    with stop_on_signal(asked.append):
        Path(folder, f"begun-{os.getpid()}").touch()
        while not asked:
            time.sleep(0.01)
        time.sleep(1.0)  # a second signal would cut it off
        Path(folder, f"saved-{os.getpid()}").touch()
    raise StoppedError(f"{folder} was stopped")


def test_processes_work_at_the_same_time(tmp_path):
    found = dict(side_by_side(meet, [(str(tmp_path), 0), (str(tmp_path), 1)], jobs=2))
    assert len(found) == len(set(found.values())) == 2
    assert os.getpid() not in found.values()


def test_one_job_is_done_here_unless_everything_has_a_process_of_its_own():
    assert {process for _, process in side_by_side(process_of, [0, 1], jobs=1)} == {os.getpid()}
    others = {process for _, process in side_by_side(process_of, [0, 1], jobs=1, own_process=True)}
    assert len(others) == 2
    assert os.getpid() not in others


def test_a_job_that_fails_here_is_reported_and_the_others_go_on():
    failures = []
    assert list(side_by_side(fail_at_one, [0, 1, 2], jobs=1, failures=failures)) == [(0, 0), (2, 2)]
    ((item, error),) = failures
    assert (item, type(error), str(error)) == (1, ValueError, "one is wrong")
    with pytest.raises(ValueError, match="one is wrong"):
        list(side_by_side(fail_at_one, [0, 1, 2], jobs=1))


def test_processes_that_fail_or_are_killed_are_reported_and_take_no_other_with_them():
    failures = []
    assert list(side_by_side(die_at_two, [2, 1, 0], jobs=2, failures=failures)) == [(0, 0)]
    (_, failed), (_, killed) = sorted(failures, key=lambda failure: failure[0])
    assert (type(failed), str(failed)) == (ValueError, "one is wrong")
    assert "died, by SIGKILL, as the system does when memory runs out" in str(killed)
    for item, error, message in ((1, ValueError, "one is wrong"), (2, ProcessDiedError, "SIGKILL")):
        with pytest.raises(error, match=message):
            list(side_by_side(die_at_two, [item], jobs=1, own_process=True))


@pytest.mark.parametrize(
    ("number", "to", "jobs"),
    [
        (signal.SIGINT, "job", 1),
        (signal.SIGTERM, "job", 2),
        (signal.SIGUSR1, "job", 1),
        (signal.SIGINT, "first", 2),
        (signal.SIGTERM, "first", 1),
        (signal.SIGUSR1, "first", 1),
        (signal.SIGKILL, "first", 2),
    ],
)
def test_a_signal_ends_all_after_they_have_saved_and_no_job_begins(tmp_path, number, to, jobs):
    code = (
        "from tats_gym.jobs.parallel import side_by_side\n"
        "from tests.test_parallel_jobs import train\n"
        "if __name__ == '__main__':\n"
        f"    list(side_by_side(train, [{str(tmp_path)!r}] * 4, jobs={jobs}, own_process=True))\n"
    )
    (tmp_path / "many.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "many.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(tmp_path, "begun-*", jobs)
        (os.killpg if to == "job" else os.kill)(process.pid, number)
        process.communicate(timeout=60)
        _wait_for(tmp_path, "saved-*", jobs)
    finally:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    assert len(list(tmp_path.glob("begun-*"))) == jobs
    assert process.returncode != 0


def _wait_for(folder: Path, pattern: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(folder.glob(pattern))) < count:
        assert time.monotonic() < deadline, sorted(folder.iterdir())
        time.sleep(0.02)


def test_jobs_are_one_or_more():
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        list(side_by_side(abs, [1], jobs=0))


def test_runs_do_not_share_a_gpu_unasked(monkeypatch):
    assert default_jobs() == (1 if torch.cuda.is_available() else os.cpu_count())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_jobs() == 1
