"""The guard of settings that must lie in an interval."""

import math
from typing import Any

from tats_gym.messages import brief

SEEDS = "[0, 2**32)"
"""The seeds that NumPy takes."""


def check_intervals(settings: Any, **intervals: str) -> None:
    """Check fields against intervals such as "[1, inf)" or "(0, 1]"; a field that is None passes.

    Raises:
        ValueError: If one lies outside its interval, with its name, the rule and its value.
    """
    for name, interval in intervals.items():
        value = getattr(settings, name)
        if value is not None and not _lies_in(value, interval):
            finite = isinstance(value, int) or math.isfinite(value)
            rule = _rule(interval) if finite else "be finite"
            raise ValueError(f"{name} must {rule}, got {brief(value)}")


def _lies_in(value: float, interval: str) -> bool:
    low, high = map(_number, interval[1:-1].split(", "))
    above = value >= low if interval.startswith("[") else value > low
    return above and (value <= high if interval.endswith("]") else value < high)


def _number(text: str) -> float:
    base, _, exponent = text.partition("**")  # 2**32
    value: float = float(base) ** int(exponent or 1)
    return value


def _rule(interval: str) -> str:
    low, high = interval[1:-1].split(", ")
    if high != "inf":
        return f"lie in {interval}"
    if low != "0":
        return f"be at least {low}" if interval.startswith("[") else f"be above {low}"
    return "not be negative" if interval.startswith("[") else "be positive"
