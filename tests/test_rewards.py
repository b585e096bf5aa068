"""Rewards by hand."""

import pytest
import torch

from tats_gym.envs.rewards import REWARDS, Reward

ERRORS = torch.tensor([[1.0, 2.0, 6.0], [0.5, 0.5, 0.5]])  # means 3 and .5
RANDOM_ERRORS = torch.tensor([[4.0, 4.0, 1.0], [0.0, 0.0, 3.0]])  # means 3 and 1


@pytest.mark.parametrize(
    ("name", "expected"), [("neg_error", [-3.0, -0.5]), ("error", [3.0, 0.5]), ("gain", [0.0, 0.5])]
)
def test_rewards_by_hand(name, expected):
    assert REWARDS[name](ERRORS, RANDOM_ERRORS).tolist() == expected


def test_only_the_gain_needs_errors_under_a_random_mask():
    assert REWARDS["neg_error"](ERRORS).tolist() == [-3.0, -0.5]
    assert Reward(lambda errors: errors.amax(1))(ERRORS).tolist() == [6.0, 0.5]
    with pytest.raises(ValueError, match="the reward 'gain' needs the errors under a random mask"):
        REWARDS["gain"](ERRORS)
