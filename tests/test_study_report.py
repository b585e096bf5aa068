"""Forwards until a gain and shares of the headroom, by hand."""

import math

import pytest

from tats_gym.agents.experiments.studies.report import (
    forwards_by_arm,
    forwards_table,
    forwards_to,
    with_headroom_share,
)


def _row(gains, *, arm="one", extra=0):
    curve = [{"step": 100 * number, "gain": gain} for number, gain in enumerate(gains, start=1)]
    return {"arm": arm, "steps": 300, "extra_forwards": extra, "curve": curve}


def test_a_gain_is_reached_on_the_line_between_two_measurements():
    row = _row([-0.01, 0.02, 0.04])
    assert forwards_to(row, 0.03) == pytest.approx(250)
    assert forwards_to(row, 0.02) == pytest.approx(200)
    assert forwards_to(_row([0.04, 0.0, 0.08]), 0.02) == pytest.approx(50)  # the first time, from zero at the start
    assert forwards_to(row, 0.05) == math.inf


def test_the_forwards_of_the_reward_count():
    assert forwards_to(_row([0.0, 0.02, 0.04], extra=300), 0.03) == pytest.approx(500)


def test_arms_are_told_by_their_median_and_never_is_said():
    rows = [_row([0.04, 0.04, 0.04]), _row([0.0, 0.04, 0.04]), _row([0, 0, 0]), _row([0, 0, 0], arm="other")]
    found = forwards_by_arm(rows, 0.02)
    assert found == {
        "one": {"forwards": [50, 150, None], "median": 150},
        "other": {"forwards": [None], "median": None},
    }
    table = forwards_table(found, 0.02).splitlines()
    assert table[1].split() == ["one", "2", "of", "3", "150", "50", "150", "never"]
    assert table[2].split() == ["other", "0", "of", "1", "never", "never"]


def test_a_share_of_the_headroom_is_of_its_seeds_or_the_only_search_and_of_no_mae_that_moved():
    rows = [{"seed": 0, "gain": 0.04, "mae_steps": 0}, {"seed": 1, "gain": 0.02, "mae_steps": 0}]
    assert [row["headroom_share"] for row in with_headroom_share(rows, {0: 0.1, 1: 0.04})] == pytest.approx([0.4, 0.5])
    assert [row["headroom_share"] for row in with_headroom_share(rows, {0: 0.1})] == pytest.approx([0.4, 0.2])
    assert with_headroom_share([{"seed": 0, "gain": 0.04, "mae_steps": 200}], {0: 0.1}) == [
        {"seed": 0, "gain": 0.04, "mae_steps": 200}
    ]
