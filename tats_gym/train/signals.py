"""Stops a training at a safe point after a signal of the user, a scheduler or a launcher."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""
PREEMPTED = 75
"""Exit code after a signal of the system: the run is saved and can be resumed. EX_TEMPFAIL of sysexits.h: a failure
that goes away when the command is repeated."""

SYSTEM_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals of schedulers: Slurm at the time limit, or before it with --signal=USR1@300; Kubernetes; torchrun."""

_stop_requests: list[Callable[[int], None]] = []
"""One callback for each training of this process; it asks the training to stop with an exit code."""


@contextmanager
def stop_on_signal(ask: Callable[[int], None]) -> Iterator[None]:
    """Call `ask` with an exit code at every Ctrl-C, SIGTERM and SIGUSR1.

    A second Ctrl-C has its former effect, and so ends the process at once. SIGTERM and SIGUSR1 never interrupt a save:
    a process may get the same signal from its launcher and from the scheduler, and SIGTERM after SIGUSR1.
    """

    def answer(number: int, frame: object) -> None:
        code = PREEMPTED
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])
            code = INTERRUPTED
        logger.warning(
            "%s: saving and ending%s",
            signal.Signals(number).name,
            "; again to end at once" if number == signal.SIGINT else "",
        )
        ask(code)

    before = {each: signal.signal(each, answer) for each in (signal.SIGINT, *SYSTEM_SIGNALS)}
    _stop_requests.append(ask)
    try:
        yield
    finally:
        _stop_requests.remove(ask)
        for each in before:
            signal.signal(each, before[each])


def ask_to_stop() -> None:
    """Ask the trainings of this process to save and stop; without a training, end the process. May be repeated.

    It does not send SIGINT: Ctrl-C reaches every process of a job already, and a second one, passed on by a parent
    process, would interrupt the save.
    """
    for ask in _stop_requests:
        ask(INTERRUPTED)
    if not _stop_requests:
        os.kill(os.getpid(), signal.SIGTERM)


class PreemptedError(KeyboardInterrupt):
    """SIGTERM or SIGUSR1 arrived; it interrupts as Ctrl-C does."""


class StoppedError(RuntimeError):
    """A training in a series was stopped, and is saved.

    Args:
        message: How to resume.
        exit_code: Exit code for the process, see `INTERRUPTED` and `PREEMPTED`.
    """

    def __init__(self, message: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """Return the exit code after an interrupt."""
    return PREEMPTED if isinstance(stop, PreemptedError) else INTERRUPTED


@contextmanager
def interrupt_on_system_signals() -> Iterator[None]:
    """Have SIGTERM and SIGUSR1 raise PreemptedError, as Ctrl-C raises; signals with a handler keep it."""
    main_thread = threading.current_thread() is threading.main_thread()
    mine = [each for each in SYSTEM_SIGNALS if main_thread and signal.getsignal(each) == signal.SIG_DFL]

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise PreemptedError

    for each in mine:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each in mine:
            signal.signal(each, signal.SIG_DFL)
