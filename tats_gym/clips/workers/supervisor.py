"""Looks after worker processes: hands out tasks, replaces who hangs, dies or grows, and the process they come from."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from typing import Any, NamedTuple

from tats_gym.clips.workers.forkserver import BEGUN, DONE, LAST_WAIT_S, LOST, RAISED

IN_HAND = 2
"""Tasks that a worker holds at most: the one it does, and the next, so that it never waits for it."""
BIRTHS = 3
"""Starts before the pool gives up: of a worker without a task begun, of the process they come from without one done."""

WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"}
"""One thread each, and large tensors in large pages: every clip takes fresh memory, page by page else."""
DIED = "the process that read it died"
SERVER_S = 300.0
"""How long it may take to start a worker: the first waits until all is imported, which may lie on a network's disk."""
END_S = LAST_WAIT_S + 5.0
"""How long the process that they come from may take to end."""


class WorkerError(RuntimeError):
    """The workers do not start, or the function raised what it should not."""


class _ServerEndedError(Exception):
    """The process that starts the workers is no more."""


@dataclass(frozen=True)
class Lost:
    """A task without a result: its video cannot be read, took too long, or brought the process down."""

    cause: str

    def cause_at(self, path: str) -> str:
        """The cause, after the path of the video where it does not name it."""
        return self.cause if self.cause.startswith(path) else f"{path}: {self.cause}"


class Answer(NamedTuple):
    """What came of the task with this number: the function's result, or `Lost`."""

    number: int
    result: Any


@dataclass
class _Worker:
    process: int
    connection: Connection
    tasks: deque[tuple[int, Any]] = field(default_factory=deque)
    since_s: float = 0.0
    """When the first of its tasks came to be the first, or was begun, by the clock that all processes share."""
    begun: bool = False
    """Whether it has said that it began with it."""


class Foreman(threading.Thread):
    """Hands out tasks and looks after the workers while the training process does something else."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        num_workers: int,
        time_limit_s: float | None,
        memory_limit: int | None,
        pass_fds: Sequence[int],
    ) -> None:
        super().__init__(name="tats_gym workers", daemon=True)
        self.answers: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()
        self._waiting: deque[tuple[int, Any]] = deque()
        self._workers: list[_Worker] = []
        self._num_workers, self._time_limit_s = num_workers, time_limit_s
        self._births = 0
        self._closing = False
        self._bell, self._ring = socket.socketpair()
        self._ring.setblocking(False)
        self._first, self._pass_fds = (function, memory_limit), pass_fds
        self._starts = 0  # of the server since a task was done
        self._start_server()

    def _start_server(self) -> None:
        self._starts += 1
        self._server_knows = False
        ours, theirs = socket.socketpair()
        start = f"import sys; sys.path[:] = {sys.path!r}; from tats_gym.clips.workers.forkserver import serve; "
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-c", f"{start}serve({theirs.fileno()})"],
                pass_fds=(theirs.fileno(), *self._pass_fds),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | WORKER_ENVIRONMENT,
            )
        self._line, self._control = ours, Connection(os.dup(ours.fileno()))

    def submit(self, number: int, task: Any) -> None:
        """See `WorkerPool.submit`."""
        self._waiting.append((number, task))
        self._wake()

    def close(self) -> None:
        """Kill all of them."""
        self._closing = True
        self._wake()
        self._hang_up()
        self.join()
        self._end_server()  # it may just have started another one
        for each in (self._line, self._bell, self._ring):
            each.close()
        for connection in (self._control, *(worker.connection for worker in self._workers)):
            connection.close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it was rung often enough
            self._ring.send(b"\0")

    def _hang_up(self) -> None:
        """Have the server see that it is over; it kills the workers then."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def _end_server(self) -> int:
        """Return the exit code of the server, which is killed if it does not end by itself; its workers end with it."""
        self._hang_up()
        try:
            return self._server.wait(END_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            return self._server.wait()

    def run(self) -> None:
        """Do so until it is closed."""
        try:
            while not self._closing:
                try:
                    self._look_after_workers()
                except _ServerEndedError:
                    self._replace_server()
        except BaseException as err:
            if not self._closing:
                self.answers.put(err)

    def _look_after_workers(self) -> None:
        if not self._server_knows:
            self._tell_server(self._first)
            self._server_knows = True
        self._start_missing()
        self._hand_out()
        connections: list[Any] = [worker.connection for worker in self._workers]
        ready = wait([self._bell, self._control, *connections], timeout=self._until_overdue())
        if self._bell in ready:
            self._bell.recv(4096)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            self._listen(worker)
        if self._control in ready:  # it says nothing unasked
            raise _ServerEndedError
        self._kill_overdue()

    def _tell_server(self, order: Any) -> None:
        try:
            self._control.send(order)
        except OSError as err:
            raise _ServerEndedError from err

    def _replace_server(self) -> None:
        """Start the server anew, and with it the workers, which nobody would reap or replace any more."""
        if self._closing:
            return
        for worker in list(self._workers):
            with suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)
            self._dismiss(worker, DIED)
        killed = self._end_server() < 0
        self._line.close()
        self._control.close()
        if not killed or self._starts > BIRTHS:
            raise WorkerError("the process that starts the workers has ended; its messages are above")
        self._start_server()

    def _start_missing(self) -> None:
        while len(self._workers) < self._num_workers:
            self._births += 1
            if self._births > BIRTHS * self._num_workers:
                raise WorkerError("worker processes end before they have begun a task; their messages are above")
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._control.send(("fork", None))
                    send_handle(self._control, theirs.fileno(), self._server.pid)
                if not self._control.poll(SERVER_S):
                    self._server.kill()
                process = self._control.recv()
            except (EOFError, OSError) as err:
                ours.close()
                raise _ServerEndedError from err
            self._workers.append(_Worker(process, Connection(ours.detach())))

    def _hand_out(self) -> None:
        """Give waiting tasks to those who have least to do."""
        while self._waiting:
            worker = min(self._workers, key=lambda worker: len(worker.tasks))
            if len(worker.tasks) >= IN_HAND:
                return
            task = self._waiting.popleft()
            if not worker.tasks:
                worker.since_s = time.monotonic()
            worker.tasks.append(task)
            with suppress(OSError):  # it is gone, which `_listen` will see
                worker.connection.send(task)

    def _listen(self, worker: _Worker) -> None:
        """Take in what a worker has said, or that it has ended."""
        try:
            while worker.connection.poll():
                number, word, time_s, content = worker.connection.recv()
                worker.since_s, worker.begun = time_s, word == BEGUN
                if word == BEGUN:
                    continue
                worker.tasks.popleft()
                if word == RAISED:
                    raise WorkerError(f"in a worker process:\n{content}")
                assert word in (DONE, LOST)
                self._births = self._starts = 0
                self.answers.put(Answer(number, Lost(content) if word == LOST else content))
        except (EOFError, OSError):
            self._dismiss(worker, DIED)

    def _until_overdue(self) -> float | None:
        busy = [worker.since_s for worker in self._workers if worker.tasks]
        if self._time_limit_s is None or not busy:
            return None
        return max(0.0, min(busy) + self._time_limit_s - time.monotonic())

    def _kill_overdue(self) -> None:
        if self._time_limit_s is None:
            return
        latest = time.monotonic() - self._time_limit_s
        for worker in [worker for worker in self._workers if worker.tasks and worker.since_s < latest]:
            self._tell_server(("kill", worker.process))
            self._dismiss(worker, f"reading it took more than {self._time_limit_s:g} s")

    def _dismiss(self, worker: _Worker, cause: str) -> None:
        """Let a worker go that is no more; what it had begun is lost, the rest is done by others."""
        self._workers.remove(worker)
        worker.connection.close()
        if worker.begun:
            self._births = 0  # it started well: what ended it is the task
            number, _ = worker.tasks.popleft()
            self.answers.put(Answer(number, Lost(cause)))
        self._waiting.extendleft(reversed(worker.tasks))
