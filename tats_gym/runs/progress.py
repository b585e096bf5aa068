"""Shows progress: a bar on a terminal, a line a minute in files and pipes."""

import math
import sys
import time
from typing import Any, ClassVar, TextIO

from tqdm import tqdm

LINE_S = 60.0
"""Shortest time between two lines, in seconds."""
QUIET_LINE_S = 600.0
"""Shortest time between two lines with `quiet`, in seconds."""
BAR = "|{bar}|"
FORMAT = "{desc} {percentage:3.0f}%" + BAR + " {n_fmt}/{total_fmt} {unit}s [{elapsed}<{remaining}{postfix}]"


def progress_bar(
    *iterable: Any, unit: str, name: str = "", quiet: bool = False, leave: bool = True, **settings: Any
) -> "tqdm[Any]":
    """Make a tqdm progress bar on standard error, which writes lines where that is not a terminal.

    It writes a line at the start, at most one per minute, and one at the end.

    Args:
        iterable: The items to iterate over, if the bar is to count them.
        unit: Name of the items, in the singular.
        name: Name of the work, at the head of each line.
        quiet: Print only a line every ten minutes, on a terminal too.
        leave: False for one of many short bars: it vanishes, and all of them together write at most a line a minute.
        settings: Further settings of tqdm.
    """
    stream = sys.stderr
    settings |= {"unit": unit, "leave": leave}
    if stream.isatty() and not quiet:
        return tqdm(*iterable, file=stream, bar_format=FORMAT, mininterval=0.5, **settings)
    return tqdm(
        *iterable,
        file=Lines(stream, name, 0.0 if leave else LINE_S),
        bar_format=FORMAT.replace(BAR, ","),
        mininterval=QUIET_LINE_S if quiet else LINE_S,
        delay=QUIET_LINE_S if quiet else 0.0,
        miniters=1,
        position=0,
        **settings,
    )


class Lines:
    """A stream for tqdm that writes the bar's redraws as lines.

    Args:
        stream: Takes the lines.
        name: Head of each line.
        apart_s: Shortest time since the last line of any bar, in seconds.
    """

    last_s: ClassVar[float] = -math.inf
    """Time of the last line of any bar."""

    def __init__(self, stream: TextIO, name: str, apart_s: float) -> None:
        self._stream, self._head, self._apart_s = stream, f"{name}: " if name else "", apart_s
        self._line = ""

    def write(self, text: str) -> None:
        """Write a line, unless it is blank, the same as before, or too early."""
        line, now = text.strip(), time.monotonic()
        if line in ("", self._line) or now - Lines.last_s < self._apart_s:
            return
        self._line, Lines.last_s = line, now
        self._stream.write(f"{self._head}{line}\n")

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()
