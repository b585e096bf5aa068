"""Parts of error messages: shortened values, and suggestions of similar names."""

import difflib
import reprlib
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 160
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 8


def brief(value: Any) -> str:
    """Return `repr(value)`, shortened where it is long, as values from damaged files may be."""
    return _REPR.repr(value)


def first_line(err: BaseException) -> str:
    """Return the first line of an error's message, with the next one if it ends in a colon; or the error's name."""
    first, *more = str(err).splitlines() or [type(err).__name__]
    return f"{first} {textwrap.shorten(more[0], 160, placeholder=' ...')}" if more and first.endswith(":") else first


def listed(values: Sequence[Any], most: int = 4) -> str:
    """List the first values, each shortened, and the number of the others."""
    first = ", ".join(map(brief, values[:most]))
    return f"{first} and {len(values) - most} more" if len(values) > most else first or "none"


def did_you_mean(value: str, choices: Iterable[str], most: int = 1) -> str:
    """Return "; did you mean 'x'?" with the choices most similar to `value`, or "" where none is similar."""
    near = difflib.get_close_matches(value, list(choices), n=most)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def nearest_multiples(number: int, step: int) -> list[int]:
    """Return the multiples of `step` next to a number that is none, below it and above it, if they are positive."""
    below = number // step * step
    return [multiple for multiple in (below, below + step) if multiple > 0]


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError with the most similar choice if `value` is none of them."""
    if value not in choices:
        near = did_you_mean(value, choices)
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {brief(value)}{near}")
