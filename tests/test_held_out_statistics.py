"""The statistics of held-out clips by hand: of masks, of motion, and of the sampler's distribution."""

import math
import statistics
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.training.measures.evaluation import _clip_statistics, as_metrics
from tats_gym.agents.training.measures.mask_statistics import mean_lift, overlap, std_within, visible_share
from tats_gym.clips.readable import evenly_spaced


def test_overlap_by_hand():
    ids = torch.tensor([[[0, 1], [1, 2], [4, 5]], [[0, 1], [1, 2], [0, 5]]])  # 2 draws, 3 clips
    pairs = [1 / 2, (0 + 0 + 1 / 2 + 1 / 2) / 4, 0]  # clips 0 and 1, 0 and 2, 1 and 2
    assert overlap(ids, 6) == pytest.approx(sum(pairs) / 3)


def test_masks_of_two_clips_overlap_fully_or_not_at_all():
    assert overlap(torch.tensor([[[0, 1], [1, 0]]]), 4) == pytest.approx(1)
    assert overlap(torch.tensor([[[0, 1], [2, 3]]]), 4) == pytest.approx(0)
    assert math.isnan(overlap(torch.tensor([[[0, 1]], [[2, 3]]]), 4))  # a single clip


def test_the_share_of_masks_that_show_a_token():
    ids = torch.tensor([[[0, 1], [0, 2]], [[0, 3], [1, 0]]])  # 2 draws, 2 clips
    assert visible_share(ids, 5).tolist() == [1, 1 / 2, 1 / 4, 1 / 4, 0]


def test_the_lift_is_a_mean_over_clips_that_move_and_draws():
    values = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 0.0]])
    ids = torch.tensor([[[3, 2], [0, 1]], [[0, 3], [2, 3]]])  # of the first clip 4.5 and 3.5 of a mean of 3
    assert mean_lift(values, ids) == pytest.approx((4.5 / 3 + 3.5 / 3) / 2)


def test_the_deviation_of_errors_is_that_within_clips():
    errors = torch.tensor([[1.0, 3.0, math.nan, 5.0], [10.0, 10.0, 10.0, 10.0]])  # 3 +- 2, and 0
    assert std_within(errors) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ids", "count", "expected"),
    [
        (range(9), 3, [0, 4, 8]),
        (range(3, 14), 3, [3, 8, 13]),
        ([5, 7, 11], 2, [5, 11]),
        ([5, 7], 1, [5]),
        ([5, 7], 3, [5, 7]),
        ([], 2, []),
    ],
)
def test_clips_areevenly_spaced(ids, count, expected):
    assert evenly_spaced(ids, count) == expected


def test_fields_are_logged_by_their_names():
    @dataclass
    class Numbers:
        first: float
        second: float

    assert as_metrics("eval", Numbers(0.5, 2.0)) == {"eval/first": 0.5, "eval/second": 2.0}


def _entropy(weights):
    shares = [weight / sum(weights) for weight in weights]
    return -sum(share * math.log(share) for share in shares)


def test_the_state_of_a_sampler_by_hand():
    weights = [[0.5, 0.4996, 3e-4, 1e-4], [0.4, 0.3, 0.2, 0.1]]  # a thousandth of the uniform share is .00025
    logits = torch.tensor(weights, dtype=torch.float64).log() + torch.tensor([[0.0], [5.0]])
    policy = SimpleNamespace(score=lambda tokens: (PlackettLuce(logits, 2), torch.tensor([[3.0], [-1.0]])))
    found = _clip_statistics(policy, torch.zeros(2, 4, 8), torch.tensor([[1, 0], [3, 1]]), torch.tensor([1.0, 0.5]))
    along = [weights[0][:1] + weights[0][2:], weights[1][:3]]  # left after the first draw
    for row, each, left, never, error in zip(found.tolist(), weights, along, (1 / 4, 0), (4, 2.25), strict=True):
        entropy, deviation = _entropy(each), statistics.stdev(math.log(weight) for weight in each)
        expected = [entropy / math.log(4), entropy + _entropy(left), deviation, never, error]
        assert row == pytest.approx(expected, rel=1e-6)
