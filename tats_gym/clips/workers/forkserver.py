"""The process that worker processes are forked from: it has imported all that they need, and nothing else.

Workers that are replaced are there again within milliseconds, hold no copy of the training process, and do not run
the user's script again, as processes started by `multiprocessing` would.
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
from tats_gym.train.signals import FROM_SYSTEM

BEGUN, DONE, LOST, RAISED = "begun", "done", "lost", "raised"
"""What a worker says of a task: (number, one of these, its time, result, cause or traceback)."""


LAST_WAIT_S = 5.0
"""How long the workers are waited for at the end."""
PR_SET_PDEATHSIG = 1
"""Of Linux's `prctl`: names the signal that a process gets when its parent ends."""
TASK_MEMORY = 2
"""One task may take so many times the memory at which a worker is replaced after it."""


def serve(handle: int) -> None:
    """Fork and kill workers as the connection `handle` asks, until it closes; then every worker is killed.

    The first message is (function, memory limit in bytes or None). Then each ("fork", None) is followed by the file
    descriptor of the worker's own connection and answered with its process id; ("kill", id) is not answered.
    """
    # Terminals and schedulers signal every process of a job; the training process decides what that means.
    for number in (signal.SIGINT, *FROM_SYSTEM):
        signal.signal(number, signal.SIG_IGN)
    workers: set[int] = set()
    with Connection(handle) as control:
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
        _end_with(server)
        os.close(control.fileno())
        torch.set_num_threads(1)
        if memory_limit is not None:
            _cap_memory(TASK_MEMORY * memory_limit)
        with Connection(handle) as tasks:
            _work(function, tasks, memory_limit)
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent ends: one that hangs or is stopped would not see it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the process that starts the workers has ended")


def _kill(process: int, workers: set[int]) -> None:
    """Have a worker killed. It is not waited for: one that waits for a disk dies only when that answers."""
    if process in workers:  # else it is reaped, and the number may be another's
        os.kill(process, signal.SIGKILL)


def _reap_all(workers: set[int]) -> None:
    deadline = time.monotonic() + LAST_WAIT_S
    while workers and time.monotonic() < deadline:
        _reap(workers)
        time.sleep(0.005)


def _reap(workers: set[int]) -> None:
    with suppress(ChildProcessError):
        while (process := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            workers.discard(process)


def _work(function: Callable[[Any], Any], tasks: Connection, memory_limit: int | None) -> None:
    """Do what comes until the connection closes, or this process has grown past the limit."""
    while True:
        try:
            number, task = tasks.recv()
            tasks.send((number, BEGUN, time.monotonic(), None))
            try:
                answer = (DONE, function(task))
            except VideoReadError as err:
                answer = (LOST, str(err))
            except Exception as err:
                if out_of_memory(err):
                    answer = (LOST, "reading it takes more memory than a worker may have")
                else:
                    answer = (RAISED, traceback.format_exc())
            tasks.send((number, answer[0], time.monotonic(), answer[1]))
        except (EOFError, ConnectionError):
            return
        if memory_limit is not None and _memory() > memory_limit:
            return


def _memory() -> int:
    """Bytes of this process's own memory; 0 where the system does not tell."""
    return _status("RssAnon:")  # not what is mapped from files, such as the clips that workers share


def _cap_memory(size: int) -> None:
    """Let this process take `size` bytes more than it has, where the system can count them.

    A frame of a few kilobytes can call for gigabytes, with which a system would end whichever process it likes.
    """
    before = _status("VmData:")
    _, highest = resource.getrlimit(resource.RLIMIT_DATA)
    if before and highest == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (before + size, highest))


def _status(name: str) -> int:
    """Bytes that the system tells of this process; 0 where it does not."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
