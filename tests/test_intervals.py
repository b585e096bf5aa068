"""Tests of the guard of settings: interval notation, and messages that name setting, rule and value."""

from math import inf, isfinite, nan
from types import SimpleNamespace

import pytest

from tats_gym.settings.intervals import SEEDS, check_intervals

INSIDE = [
    ("[1, inf)", (1, 1.5, 2**70)),
    ("(0, inf)", (1e-300, 1)),
    ("[0, inf)", (0, 0.0, 7)),
    ("[0, 1]", (0, 0.5, 1)),
    ("(0, 1]", (1e-9, 1.0)),
    ("[0, 1)", (0, 0.999)),
    ("(0, 1)", (0.5,)),
    (SEEDS, (0, 4294967295)),
]
OUTSIDE = [
    ("[1, inf)", (0, 0.999, -3, inf, nan), "be at least 1"),
    ("(2, inf)", (2,), "be above 2"),
    ("(0, inf)", (0, -1, inf, nan), "be positive"),
    ("[0, inf)", (-1e-300, -1, inf, nan), "not be negative"),
    ("[0, 1]", (-0.1, 1.1, nan), "lie in [0, 1]"),
    ("(0, 1]", (0, 1.1, nan), "lie in (0, 1]"),
    ("[0, 1)", (-0.1, 1, nan), "lie in [0, 1)"),
    (SEEDS, (-1, 4294967296), "lie in [0, 2**32)"),
]


@pytest.mark.parametrize(("interval", "values"), INSIDE)
def test_values_inside_and_none_pass(interval: str, values: tuple[float, ...]) -> None:
    for value in (*values, None):
        check_intervals(SimpleNamespace(rate=value), rate=interval)


@pytest.mark.parametrize(("interval", "values", "rule"), OUTSIDE)
def test_values_outside_of_the_interval_are_named_with_the_rule(
    interval: str, values: tuple[float, ...], rule: str
) -> None:
    for value in values:
        with pytest.raises(ValueError) as raised:  # noqa: PT011 (the whole message is compared)
            check_intervals(SimpleNamespace(first=None, rate=value), first="[1, inf)", rate=interval)
        assert str(raised.value) == f"rate must {rule if isfinite(value) else 'be finite'}, got {value}"
