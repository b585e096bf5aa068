"""Ends a training where it is safe: the first Ctrl-C or SIGTERM asks, the second interrupts."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


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
    try:
        yield
    finally:
        for each in watched:
            signal.signal(each, before[each])
