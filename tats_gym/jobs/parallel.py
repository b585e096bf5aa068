"""Runs jobs side by side in processes that share the cores."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar, cast

import torch

from tats_gym.train.signals import StoppedError, ask_to_stop, exit_code_of, interrupt_on_system_signals

In = TypeVar("In")
Out = TypeVar("Out")


class ProcessDiedError(RuntimeError):
    """A process ended without a result: killed, or out of memory."""


def default_jobs() -> int:
    """Return the default number of processes: one per core, or one in all where they would share a GPU."""
    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def side_by_side(
    function: Callable[[In], Out],
    items: Iterable[In],
    *,
    jobs: int,
    own_process: bool = False,
    failures: list[tuple[In, Exception]] | None = None,
) -> Iterator[tuple[In, Out]]:
    """Apply the function to the items, `jobs` at a time, and yield each item with its result when it is done.

    One job runs in this process; with several, or `own_process`, every item has its own. When this process is
    interrupted (Ctrl-C, SIGTERM, SIGUSR1), fails or dies, the others are asked to save and stop, and are waited for.

    Args:
        function: Maps an item to its result; importable from the module that defines it.
        items: Its arguments; the next one is taken when a process is free.
        jobs: Processes at a time.
        own_process: A process for each item even where `jobs` is 1.
        failures: If given, items whose function fails or whose process dies are appended with the error, and the
            others go on. A run that was stopped is not a failure.

    Raises:
        ValueError: If `jobs` is below 1.
        ProcessDiedError: If a process died.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    answers = _answers_from_here(function, items) if jobs == 1 and not own_process else _answers(function, items, jobs)
    for item, value, error in answers:
        if error is None:
            yield item, value
        elif failures is None or isinstance(error, StoppedError) or not isinstance(error, Exception):
            answers.close()
            raise error
        else:
            failures.append((item, error))


FinishedJob = tuple[In, Any, BaseException | None]
"""An item with its result, or with its error."""


def _answers_from_here(function: Callable[[In], Out], items: Iterable[In]) -> Generator[FinishedJob[In]]:
    for item in items:
        try:
            value = function(item)
        except Exception as err:
            yield item, None, err
        else:
            yield item, value, None


@dataclass(frozen=True)
class _Worker(Generic[In]):
    """A process that works on one item."""

    item: In
    process: BaseProcess
    keep_going: Connection
    """Closed to ask the process to stop; the system closes it too when this process ends."""

    def answer(self, answers: Connection) -> FinishedJob[In]:
        try:
            value, error = answers.recv()
        except EOFError:
            self.process.join()
            value, error = None, ProcessDiedError(f"its process died, {_cause_of_death(self.process.exitcode)}")
        self.process.join()
        return self.item, value, error


def _answers(function: Callable[[In], Out], items: Iterable[In], jobs: int) -> Generator[FinishedJob[In]]:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    waiting, running = iter(items), dict[Connection, _Worker[In]]()
    with interrupt_on_system_signals():
        try:
            while True:
                for item in islice(waiting, jobs - len(running)):
                    answers, worker = _start(function, item, threads)
                    running[answers] = worker
                if not running:
                    return
                for answers in cast(list[Connection], wait(list(running))):
                    yield running.pop(answers).answer(answers)
        finally:
            for worker in running.values():
                worker.keep_going.close()
            for worker in running.values():
                worker.process.join()


def _start(function: Callable[[In], Out], item: In, threads: int) -> tuple[Connection, _Worker[In]]:
    context = multiprocessing.get_context("spawn")
    answers, answer = context.Pipe(duplex=False)
    going, keep_going = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(function, item, threads, going, answer))
    process.start()
    for end in (answer, going):  # the new process alone holds them from now on
        end.close()
    return answers, _Worker(item, process, keep_going)


def _work(function: Callable[[In], Out], item: In, threads: int, going: Connection, answer: Connection) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_stop_when_asked, args=(going,), daemon=True).start()
    try:
        answer.send((function(item), None))
    except KeyboardInterrupt as stop:
        answer.send((None, StoppedError("interrupted", exit_code_of(stop))))
    except Exception as err:
        answer.send((None, _sendable(err)))


def _sendable(error: Exception) -> Exception:
    """Return the error, or one with the same message if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _stop_when_asked(going: Connection) -> None:
    try:
        going.recv()
    except EOFError:
        ask_to_stop()


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")
