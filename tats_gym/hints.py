"""The "did you mean" of error messages."""

import difflib
from collections.abc import Collection, Iterable


def did_you_mean(value: str, choices: Iterable[str], most: int = 1) -> str:
    """Return "; did you mean 'x'?" for the choices nearest to `value`, or nothing where none is near."""
    near = difflib.get_close_matches(value, list(choices), n=most)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError with the nearest choice if `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}{did_you_mean(value, choices)}")
