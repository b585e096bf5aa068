"""What error messages show: the nearest names, and values at a length that can be read."""

import difflib
import reprlib
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 160
_SHOWN.maxlist = _SHOWN.maxtuple = _SHOWN.maxdict = _SHOWN.maxset = 8


def shown(value: Any) -> str:
    """Return `repr(value)`, shortened where it is long: a message that repeats a damaged file helps nobody."""
    return _SHOWN.repr(value)


def first_line(err: BaseException) -> str:
    """Return the first line of an error's message, and what it announces by a colon, shortened; or the error's name."""
    first, *more = str(err).splitlines() or [type(err).__name__]
    return f"{first} {textwrap.shorten(more[0], 160, placeholder=' ...')}" if more and first.endswith(":") else first


def listed(values: Sequence[Any], most: int = 4) -> str:
    """List the first values, each shortened, and count the others."""
    first = ", ".join(map(shown, values[:most]))
    return f"{first} and {len(values) - most} more" if len(values) > most else first or "none"


def did_you_mean(value: str, choices: Iterable[str], most: int = 1) -> str:
    """Return "; did you mean 'x'?" for the choices nearest to `value`, or nothing where none is near."""
    near = difflib.get_close_matches(value, list(choices), n=most)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError with the nearest choice if `value` is none of them."""
    if value not in choices:
        near = did_you_mean(value, choices)
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {shown(value)}{near}")
