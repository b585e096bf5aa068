"""Workers do tasks side by side; one that hangs, dies or grows is replaced, and costs its own task alone."""

import os
import signal
import time
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest
import torch

from tats_gym.clips import VideoReadError
from tats_gym.clips.workers import supervisor
from tats_gym.clips.workers.pool import WorkerPool, run_all
from tats_gym.clips.workers.supervisor import TaskFailure, WorkerError

HOARD = []
pytestmark = pytest.mark.long


def act(task):
    """The answer to a task: some return, some never do."""
    kind, value = task
    if kind == "hang":
        time.sleep(600)
    elif kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "refuse":
        raise VideoReadError(f"{value}: it does not decode")
    elif kind == "raise":
        raise KeyError(value)
    elif kind == "grow":
        HOARD.append(os.urandom(value * 2**20))
    elif kind == "fill":
        bytearray(value * 2**20)
    elif kind == "fill a tensor":
        torch.ones(value * 2**20, dtype=torch.uint8)
    elif kind == "signal":
        os.kill(os.getpid(), value)
    return os.getpid(), value


@pytest.fixture(name="timed", scope="module")
def _timed():
    """A pool with a short time limit: starting one takes seconds, so tests that it outlives share it."""
    with closing(WorkerPool(act, 2, time_limit_s=3)) as pool:
        yield pool


@pytest.fixture(name="bounded", scope="module")
def _bounded():
    """A pool of one worker with a memory limit, shared as `timed` is."""
    with closing(WorkerPool(act, 1, memory_limit_mib=400)) as pool:
        yield pool


def answers(pool, tasks):
    for number, task in enumerate(tasks):
        pool.submit(number, task)
    return dict(pool.next() for _ in tasks)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_task_is_answered_once(num_workers):
    tasks = [("answer", value) for value in range(40)] + [("refuse", "cut.mp4")]
    found = dict(run_all(act, tasks, num_workers=num_workers, time_limit_s=60))
    assert [found[task][1] for task in tasks[:40]] == list(range(40))
    assert found["refuse", "cut.mp4"] == TaskFailure("cut.mp4: it does not decode")
    processes = {found[task][0] for task in tasks[:40]}
    assert (processes == {os.getpid()}) if num_workers == 0 else (os.getpid() not in processes)


def test_a_task_that_hangs_or_kills_its_worker_is_lost_alone(timed):
    start = time.monotonic()
    found = answers(timed, [("hang", 0), ("die", 1), *(("answer", value) for value in range(2, 30)), ("hang", 30)])
    assert time.monotonic() - start < 60
    assert found[0] == found[30] == TaskFailure("reading it took more than 3 s")
    assert found[1] == TaskFailure("the process that read it died")
    assert [found[number][1] for number in range(2, 30)] == list(range(2, 30))
    assert len(answers(timed, [("answer", 1)] * 3)) == 3  # and it goes on


def test_many_tasks_in_a_row_that_end_their_worker_are_lost_alone(bounded):
    found = answers(bounded, [*(("die", value) for value in range(8)), ("answer", 8)])
    assert [found[number] for number in range(8)] == [TaskFailure("the process that read it died")] * 8
    assert found[8][1] == 8


def test_a_worker_that_does_not_begin_is_replaced_and_its_tasks_are_done_by_others(timed):
    stopped = answers(timed, [("answer", 0)] * 4)[0][0]
    os.kill(stopped, signal.SIGSTOP)  # as a machine that swaps may do
    found = answers(timed, [("answer", value) for value in range(8)])
    assert [found[number][1] for number in range(8)] == list(range(8))
    assert stopped not in {process for process, _ in found.values()}


def test_a_worker_that_has_grown_is_replaced(bounded):
    found = answers(bounded, [("grow", 150)] * 12)
    assert not any(isinstance(result, TaskFailure) for result in found.values())
    processes = [process for process, _ in found.values()]
    assert 3 <= len(set(processes)) <= 12
    assert max(processes.count(process) for process in processes) <= 3


def test_the_process_that_starts_workers_is_replaced_too():
    with closing(WorkerPool(act, 2, time_limit_s=60)) as pool:
        before = {process for process, _ in answers(pool, [("answer", 0)] * 40).values()}
        server = pool._supervisor._server.pid
        pool.submit(100, ("hang", 0))
        pool.submit(101, ("answer", 0))
        assert pool.next().number == 101
        os.kill(server, signal.SIGKILL)
        assert pool.next() == (100, TaskFailure("the process that read it died"))
        after = answers(pool, [("answer", value) for value in range(40)])
        assert sorted(value for _, value in after.values()) == list(range(40))
        assert pool._supervisor._server.pid != server
        wait_until_gone(before)  # those that it left behind


def test_a_worker_that_is_stopped_ends_with_the_process_that_started_it(monkeypatch):
    kept = SimpleNamespace(kill=lambda *_: None, dup=os.dup, environ=os.environ)  # an order to kill that is lost
    with closing(WorkerPool(act, 1)) as pool:
        worker, _ = answers(pool, [("answer", 0)])[0]
        monkeypatch.setattr(supervisor, "os", kept)
        os.kill(worker, signal.SIGSTOP)
        os.kill(pool._supervisor._server.pid, signal.SIGKILL)
        wait_until_gone([worker])


class Large:
    """A function that a pipe does not hold, so that the server must be there to take it."""

    def __init__(self):
        self.content = bytes(2**24)

    def __call__(self, task):
        return act(task)


def test_a_server_that_is_killed_before_it_has_begun_is_replaced_too():
    with closing(WorkerPool(Large(), 1)) as pool:
        pool.submit(0, ("answer", 5))
        os.kill(pool._supervisor._server.pid, signal.SIGKILL)
        assert pool.next().result[1] == 5


def test_a_server_that_hangs_is_replaced_too_and_keeps_no_pool_from_closing(monkeypatch):
    def start_in_peace(self, start=supervisor.Supervisor._start_server):
        monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 600.0)
        start(self)

    monkeypatch.setattr(supervisor.Supervisor, "_start_server", start_in_peace)
    monkeypatch.setattr(supervisor, "STOP_TIMEOUT_S", 1.0)
    with closing(WorkerPool(act, 1)) as pool:
        process, _ = answers(pool, [("answer", 0)])[0]
        monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 1.0)
        os.kill(pool._supervisor._server.pid, signal.SIGSTOP)
        pool.submit(1, ("die", 0))
        pool.submit(2, ("answer", 5))
        assert pool.next() == (1, TaskFailure("the process that read it died"))
        other, value = pool.next().result
        assert (other != process, value) == (True, 5)
        os.kill(pool._supervisor._server.pid, signal.SIGSTOP)
    wait_until_gone([other])


def test_a_pool_whose_workers_processes_are_killed_again_and_again_gives_up():
    with closing(WorkerPool(act, 1)) as pool:
        pool.submit(0, ("hang", 0))
        deaths = 0
        while pool._supervisor.is_alive():
            with suppress(ProcessLookupError):
                os.kill(pool._supervisor._server.pid, signal.SIGKILL)
                deaths += 1
            time.sleep(0.05)
        with pytest.raises(WorkerError, match=r"has ended|processes end before they have started a task"):
            pool.next()
        assert deaths >= 2


def wait_until_gone(processes):
    deadline = time.monotonic() + 10
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("kind", ["fill", "fill a tensor"])
def test_a_task_that_takes_twice_the_memory_is_lost_alone(bounded, kind):
    found = answers(bounded, [(kind, 2000), (kind, 200), ("answer", 0)])
    assert found[0] == TaskFailure("reading it takes more memory than a worker may have")
    assert (found[1][1], found[2][1]) == (200, 0)


def test_a_pool_can_be_closed_before_its_workers_are_there():
    pool = WorkerPool(act, 2)
    pool.submit(0, ("answer", 0))
    server = pool._supervisor._server
    pool.close()
    pool.close()
    assert server.returncode is not None
    assert not pool._supervisor.is_alive()


def test_no_process_outlives_its_pool():
    with closing(WorkerPool(act, 2)) as pool:
        processes = {result[0] for result in answers(pool, [("answer", 0)] * 40).values()}
        pool.submit(99, ("hang", 0))
        pool.submit(100, ("answer", 0))
        pool.next()
    assert not any(map(is_alive, processes))


def test_an_unexpected_error_of_the_function_ends_the_pool():
    with closing(WorkerPool(act, 1)) as pool:
        pool.submit(0, ("raise", "typo"))
        for _ in range(2):
            with pytest.raises(WorkerError, match="KeyError: 'typo'"):
                pool.next()


def test_a_function_that_does_not_come_over_is_reported_however_much_is_asked_of_the_pool(capfd):
    with closing(WorkerPool(_Local(), 1)) as pool:
        pool.submit(0, None)
        with pytest.raises(WorkerError, match="has ended; its messages are above"):
            pool.next()
        pool._supervisor.join()
        for number in range(3000):
            pool.submit(number, None)
        with pytest.raises(WorkerError, match="has ended; its messages are above"):
            pool.next()
    assert "No module named 'nowhere_to_be_found'" in capfd.readouterr().err


class _Local:
    def __reduce__(self):
        return __import__, ("nowhere_to_be_found",)
