"""Ends a training where it is safe, when a user, a scheduler or a launcher asks for it by a signal."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit code of what Ctrl-C ended, as shells have it."""
PREEMPTED = 75
"""Exit code of what the system asked to end: it is saved, and can be gone on with. EX_TEMPFAIL of sysexits.h: a failure
that goes away when the command is given again."""

FROM_SYSTEM = (signal.SIGTERM, signal.SIGUSR1)
"""How schedulers ask: Slurm at the end of the time, or before it with --signal=USR1@300; Kubernetes; torchrun."""

_asks: list[Callable[[int], None]] = []
"""How the trainings of this process are asked to end."""


@contextmanager
def stop_on_signal(ask: Callable[[int], None]) -> Iterator[None]:
    """Call `ask` with the exit code to end with at Ctrl-C, SIGTERM and SIGUSR1, as often as they come.

    A second Ctrl-C does what it did before, and so ends at once. The others never cut off what is being saved: the same
    signal may reach a process from its launcher and from the scheduler, and SIGTERM may follow SIGUSR1.
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

    before = {each: signal.signal(each, answer) for each in (signal.SIGINT, *FROM_SYSTEM)}
    _asks.append(ask)
    try:
        yield
    finally:
        _asks.remove(ask)
        for each in before:
            signal.signal(each, before[each])


def ask_to_stop() -> None:
    """Ask what is trained in this process to save and end, as often as you like; where nothing is, end the process.

    Not by a signal of the user's: one that is sent to a whole job reaches every process of it, and whoever passes it on
    would end at once what is about to save.
    """
    for ask in _asks:
        ask(INTERRUPTED)
    if not _asks:
        os.kill(os.getpid(), signal.SIGTERM)


class PreemptedError(KeyboardInterrupt):
    """The system asked to end, as Ctrl-C would have."""


class StoppedError(RuntimeError):
    """A training that others follow was stopped, and is saved.

    Args:
        message: Says how to go on.
        exit_code: What to end with, by who stopped it.
    """

    def __init__(self, message: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def code_of(stop: KeyboardInterrupt) -> int:
    """Return the exit code of what was interrupted."""
    return PREEMPTED if isinstance(stop, PreemptedError) else INTERRUPTED


@contextmanager
def interrupted_by_system() -> Iterator[None]:
    """Have SIGTERM and SIGUSR1 raise PreemptedError, as Ctrl-C raises; what somebody else answers is left alone."""
    main_thread = threading.current_thread() is threading.main_thread()
    mine = [each for each in FROM_SYSTEM if main_thread and signal.getsignal(each) == signal.SIG_DFL]

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise PreemptedError

    for each in mine:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each in mine:
            signal.signal(each, signal.SIG_DFL)
