"""Means with their intervals, against tables of Student's t, and how they are written."""

import math

import pytest
from scipy.stats import binomtest

from tats_gym.statistics import Estimate, estimate, of_clips, wilson, with_interval


@pytest.mark.parametrize(
    ("values", "mean", "error", "t_975", "t_800"),  # the quantiles of t from printed tables
    [
        ((1.0, 2.0, 3.0), 2.0, 1 / math.sqrt(3), 4.302653, 1.060660),
        ((-1.0, 5.0), 2.0, 3.0, 12.706205, 1.376382),
        ((-3.0, -1.0, -5.0, -7.0, -9.0), -5.0, math.sqrt(2), 2.776445, 0.940965),
    ],
)
def test_an_estimate_by_hand(values, mean, error, t_975, t_800):
    found = estimate(values)
    assert found.mean == mean
    assert (found.low, found.high) == pytest.approx((mean - t_975 * error, mean + t_975 * error), rel=1e-5)
    assert found.half_width == pytest.approx(t_975 * error, rel=1e-5)
    assert found.detectable == pytest.approx((t_975 + t_800) * error, rel=1e-5)
    assert found.values == values


def test_one_value_has_no_interval_and_none_no_mean():
    found = estimate([1.5])
    assert (found.mean, found.values) == (1.5, (1.5,))
    assert all(math.isnan(each) for each in (found.low, found.high, found.detectable, found.half_width))
    with pytest.raises(ValueError, match="at least one value, got none"):
        estimate([])


def test_an_estimate_is_written_with_the_ends_of_its_interval():
    assert str(Estimate(0.25, -0.125, 0.625, 1.0, ())) == "+0.2500 [-0.1250, +0.6250]"


def test_a_mean_is_written_with_the_half_width_that_it_has():
    assert with_interval(0.25, 0.125) == "0.2500 ± 0.1250"
    assert with_interval(0.25, 0.125, "+") == "+0.2500 ± 0.1250"
    assert with_interval(0.5, math.nan) == "0.5000"


def test_few_clips_are_called_few():
    assert [of_clips(count) for count in (1, 2, 9, 10)] == [
        "1 clip, so no interval",
        "only 2 clips: few",
        "only 9 clips: few",
        "10 clips",
    ]


@pytest.mark.parametrize(("hits", "total"), [(2, 4), (0, 5), (7, 10), (3, 37), (1, 1)])
def test_intervals_of_proportions_are_those_of_scipy(hits, total):
    expected = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-12)
