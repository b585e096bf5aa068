"""Ends a training where it is safe: the first Ctrl-C or SIGTERM asks, the second interrupts."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

_asks: list[Callable[[], None]] = []
"""How the trainings of this process are asked to end."""


@contextmanager
def stop_on_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at the first Ctrl-C or SIGTERM, and have the signals do what they did before from then on."""
    watched = (signal.SIGINT, signal.SIGTERM)

    def answer(number: int, frame: object) -> None:
        logger.warning("%s: saving and ending; again to end at once", signal.Signals(number).name)
        ask()
        for each in watched:
            signal.signal(each, before[each])

    before = {each: signal.signal(each, answer) for each in watched}
    _asks.append(ask)
    try:
        yield
    finally:
        _asks.remove(ask)
        for each in watched:
            signal.signal(each, before[each])


def ask_to_stop() -> None:
    """Ask what is trained in this process to save and end, as often as you like; where nothing is, end the process.

    Not a second signal: one that is sent to a whole job reaches every process of it, and whoever passes it on would end
    at once what is about to save.
    """
    for ask in _asks:
        ask()
    if not _asks:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Have SIGTERM raise KeyboardInterrupt, as Ctrl-C does; signals that somebody else answers are left alone."""
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if mine:
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
