"""The forkserver: a process with only the needed imports, from which worker processes are forked.

A worker is replaced within milliseconds. Unlike a process started by `multiprocessing`, it holds no copy of the
training process and does not run the user's script again.
"""

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import torch

from tats_gym.clips.readers import VideoReadError
from tats_gym.train.memory import out_of_memory
from tats_gym.train.signals import SYSTEM_SIGNALS

STARTED, DONE, FAILED, RAISED = "started", "done", "failed", "raised"
"""States of a task. A worker reports (task number, state, time, content): the result, the cause or the traceback."""


REAP_TIMEOUT_S = 5.0
"""Longest wait for killed workers to end when the server stops, in seconds."""
PR_SET_PDEATHSIG = 1
"""Option of Linux's `prctl` that sets the signal a process gets when its parent ends."""
TASK_MEMORY_FACTOR = 2
"""Memory that one task may take, as a multiple of the limit at which a worker is replaced."""


def run_forkserver(control_fd: int) -> None:
    """Fork and kill workers on the orders that arrive on file descriptor `control_fd`; kill all when it closes.

    The first message is (function, memory limit in bytes or None). Each ("fork", None) is followed by the file
    descriptor of the worker's own connection and answered with the worker's process id; ("kill", id) has no answer.
    """
    # Terminals and schedulers signal every process of a job; only the training process reacts.
    for number in (signal.SIGINT, *SYSTEM_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    workers: set[int] = set()
    with Connection(control_fd) as control:
        try:
            function, memory_limit = control.recv()
            while True:
                order, process = control.recv()
                if order == "fork":
                    workers.add(_fork(control, function, memory_limit))
                else:
                    _kill(process, workers)
                _reap(workers)
        except (EOFError, ConnectionError):
            for process in list(workers):
                _kill(process, workers)
            _reap_all(workers)


def _fork(control: Connection, function: Callable[[Any], Any], memory_limit: int | None) -> int:
    handle, server = recv_handle(control), os.getpid()
    process = os.fork()
    if process:
        os.close(handle)
        control.send(process)
        return process
    status = 1
    try:
        _end_with_parent(server)
        os.close(control.fileno())
        torch.set_num_threads(1)
        if memory_limit is not None:
            _limit_memory(TASK_MEMORY_FACTOR * memory_limit)
        with Connection(handle) as tasks:
            _run_tasks(function, tasks, memory_limit)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def _end_with_parent(parent: int) -> None:
    """Have the system kill this process when its parent ends; a hung or stopped process cannot check by itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the forkserver has ended")


def _kill(process: int, workers: set[int]) -> None:
    """Kill a worker without waiting for its end: a process that waits for a disk ends only when the disk answers."""
    if process in workers:  # otherwise it is reaped, and its id may belong to another process
        os.kill(process, signal.SIGKILL)


def _reap_all(workers: set[int]) -> None:
    deadline = time.monotonic() + REAP_TIMEOUT_S
    while workers and time.monotonic() < deadline:
        _reap(workers)
        time.sleep(0.005)


def _reap(workers: set[int]) -> None:
    with suppress(ChildProcessError):
        while (process := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            workers.discard(process)


def _run_tasks(function: Callable[[Any], Any], tasks: Connection, memory_limit: int | None) -> None:
    """Run tasks until the connection closes or this process exceeds the memory limit."""
    while True:
        try:
            number, task = tasks.recv()
            tasks.send((number, STARTED, time.monotonic(), None))
            try:
                answer = (DONE, function(task))
            except VideoReadError as err:
                answer = (FAILED, str(err))
            except Exception as err:
                if out_of_memory(err):
                    answer = (FAILED, "reading it takes more memory than a worker may have")
                else:
                    answer = (RAISED, traceback.format_exc())
            tasks.send((number, answer[0], time.monotonic(), answer[1]))
        except (EOFError, ConnectionError):
            return
        if memory_limit is not None and _private_memory() > memory_limit:
            return


def _private_memory() -> int:
    """Return this process's private memory in bytes; 0 where the system does not report it."""
    return _process_status("RssAnon:")  # without mapped files, such as the clips that workers share


def _limit_memory(size: int) -> None:
    """Limit this process to `size` bytes more than it has now, where the system can enforce it.

    A frame of a few kilobytes can demand gigabytes, for which the system may kill any process.
    """
    before = _process_status("VmData:")
    _, highest = resource.getrlimit(resource.RLIMIT_DATA)
    if before and highest == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (before + size, highest))


def _process_status(name: str) -> int:
    """Read a size from /proc/self/status, in bytes; 0 where the system does not report it."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
