"""Assigns tasks to workers; restarts workers that hang, crash or exceed their memory limit, and the forkserver."""

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

from tats_gym.clips.workers.forkserver import DONE, FAILED, RAISED, REAP_TIMEOUT_S, STARTED

TASKS_PER_WORKER = 2
"""Most tasks assigned to a worker: the running one and the next, so that it never idles between them."""
MAX_STARTS = 3
"""Most starts of a worker that then begins no task, and of a forkserver under which none is finished. After these the
pool gives up."""

WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"}
"""One thread each, and large pages for large tensors: every clip is allocated anew, else page by page."""
CRASHED = "the process that read it died"
START_TIMEOUT_S = 300.0
"""Longest start of a worker, in seconds: the first one waits for all imports, possibly from a network disk."""
STOP_TIMEOUT_S = REAP_TIMEOUT_S + 5.0
"""Longest wait for the forkserver to end, in seconds."""


class WorkerError(RuntimeError):
    """The workers do not start, or the function raised an unexpected error."""


class _ServerEndedError(Exception):
    """The forkserver has ended."""


@dataclass(frozen=True)
class TaskFailure:
    """A failed task: its video cannot be read, took too long, or crashed the worker."""

    cause: str
    """Message of the error, or how the worker ended."""

    def cause_at(self, path: str) -> str:
        """Return the cause, prefixed with the path of the video unless it begins with it."""
        return self.cause if self.cause.startswith(path) else f"{path}: {self.cause}"


class Answer(NamedTuple):
    """The answer to a task: the function's result, or its `TaskFailure`."""

    number: int
    """Number of the task."""
    result: Any
    """Its result, or a `TaskFailure`."""


@dataclass
class _Worker:
    process: int
    connection: Connection
    tasks: deque[tuple[int, Any]] = field(default_factory=deque)
    since_s: float = 0.0
    """When its first task was assigned or started, by the monotonic clock that all processes share."""
    started: bool = False
    """Whether it has reported the start of that task."""


class Supervisor(threading.Thread):
    """Thread that assigns tasks and supervises the workers beside the training."""

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
        self._queued: deque[tuple[int, Any]] = deque()
        self._workers: list[_Worker] = []
        self._num_workers, self._time_limit_s = num_workers, time_limit_s
        self._worker_starts = 0
        self._closing = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.setblocking(False)
        self._setup, self._pass_fds = (function, memory_limit), pass_fds
        self._server_starts = 0  # since a task was last done
        self._start_server()

    def _start_server(self) -> None:
        self._server_starts += 1
        self._setup_sent = False
        ours, theirs = socket.socketpair()
        start = (
            f"import sys; sys.path[:] = {sys.path!r}; from tats_gym.clips.workers.forkserver import run_forkserver; "
        )
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-c", f"{start}run_forkserver({theirs.fileno()})"],
                pass_fds=(theirs.fileno(), *self._pass_fds),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | WORKER_ENVIRONMENT,
            )
        self._server_socket, self._control = ours, Connection(os.dup(ours.fileno()))

    def submit(self, number: int, task: Any) -> None:
        """See `WorkerPool.submit`."""
        self._queued.append((number, task))
        self._wake()

    def close(self) -> None:
        """Stop the forkserver and kill the workers."""
        self._closing = True
        self._wake()
        self._disconnect_server()
        self.join()
        self._end_server()  # the thread may just have started another one
        for each in (self._server_socket, self._wake_receiver, self._wake_sender):
            each.close()
        for connection in (self._control, *(worker.connection for worker in self._workers)):
            connection.close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # enough wake-ups are pending
            self._wake_sender.send(b"\0")

    def _disconnect_server(self) -> None:
        """Close the connection to the server, which then kills the workers and ends."""
        with suppress(OSError):
            self._server_socket.shutdown(socket.SHUT_RDWR)

    def _end_server(self) -> int:
        """End the server and with it the workers; return its exit code. It is killed if it does not end by itself."""
        self._disconnect_server()
        try:
            return self._server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            return self._server.wait()

    def run(self) -> None:
        """Supervise the workers until `close`."""
        try:
            while not self._closing:
                try:
                    self._supervise()
                except _ServerEndedError:
                    self._replace_server()
        except BaseException as err:
            if not self._closing:
                self.answers.put(err)

    def _supervise(self) -> None:
        if not self._setup_sent:
            self._send_order(self._setup)
            self._setup_sent = True
        self._start_missing_workers()
        self._assign_tasks()
        connections: list[Any] = [worker.connection for worker in self._workers]
        ready = wait([self._wake_receiver, self._control, *connections], timeout=self._seconds_to_timeout())
        if self._wake_receiver in ready:
            self._wake_receiver.recv(4096)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            self._receive_reports(worker)
        if self._control in ready:  # it sends only answers
            raise _ServerEndedError
        self._kill_overdue()

    def _send_order(self, order: Any) -> None:
        try:
            self._control.send(order)
        except OSError as err:
            raise _ServerEndedError from err

    def _replace_server(self) -> None:
        """Restart the server and all workers: without their server, workers are neither reaped nor replaced."""
        if self._closing:
            return
        for worker in list(self._workers):
            with suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)
            self._remove_worker(worker, CRASHED)
        killed = self._end_server() < 0
        self._server_socket.close()
        self._control.close()
        if not killed or self._server_starts > MAX_STARTS:
            raise WorkerError("the forkserver has ended; its messages are above")
        self._start_server()

    def _start_missing_workers(self) -> None:
        while len(self._workers) < self._num_workers:
            self._worker_starts += 1
            if self._worker_starts > MAX_STARTS * self._num_workers:
                raise WorkerError("worker processes end before they have started a task; their messages are above")
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._control.send(("fork", None))
                    send_handle(self._control, theirs.fileno(), self._server.pid)
                if not self._control.poll(START_TIMEOUT_S):
                    self._server.kill()
                process = self._control.recv()
            except (EOFError, OSError) as err:
                ours.close()
                raise _ServerEndedError from err
            self._workers.append(_Worker(process, Connection(ours.detach())))

    def _assign_tasks(self) -> None:
        """Assign waiting tasks to the workers with the fewest tasks."""
        while self._queued:
            worker = min(self._workers, key=lambda worker: len(worker.tasks))
            if len(worker.tasks) >= TASKS_PER_WORKER:
                return
            task = self._queued.popleft()
            if not worker.tasks:
                worker.since_s = time.monotonic()
            worker.tasks.append(task)
            with suppress(OSError):  # the worker has ended; `_receive_reports` notices it
                worker.connection.send(task)

    def _receive_reports(self, worker: _Worker) -> None:
        """Process the reports of a worker, or its end."""
        try:
            while worker.connection.poll():
                number, state, time_s, content = worker.connection.recv()
                worker.since_s, worker.started = time_s, state == STARTED
                if state == STARTED:
                    continue
                worker.tasks.popleft()
                if state == RAISED:
                    raise WorkerError(f"in a worker process:\n{content}")
                assert state in (DONE, FAILED)
                self._worker_starts = self._server_starts = 0
                self.answers.put(Answer(number, TaskFailure(content) if state == FAILED else content))
        except (EOFError, OSError):
            self._remove_worker(worker, CRASHED)

    def _seconds_to_timeout(self) -> float | None:
        busy = [worker.since_s for worker in self._workers if worker.tasks]
        if self._time_limit_s is None or not busy:
            return None
        return max(0.0, min(busy) + self._time_limit_s - time.monotonic())

    def _kill_overdue(self) -> None:
        if self._time_limit_s is None:
            return
        latest = time.monotonic() - self._time_limit_s
        for worker in [worker for worker in self._workers if worker.tasks and worker.since_s < latest]:
            self._send_order(("kill", worker.process))
            self._remove_worker(worker, f"reading it took more than {self._time_limit_s:g} s")

    def _remove_worker(self, worker: _Worker, cause: str) -> None:
        """Remove a worker that has ended: the task it had started fails, its other tasks are queued again."""
        self._workers.remove(worker)
        worker.connection.close()
        if worker.started:
            self._worker_starts = 0  # it started well: the task ended it
            number, _ = worker.tasks.popleft()
            self.answers.put(Answer(number, TaskFailure(cause)))
        self._queued.extendleft(reversed(worker.tasks))
