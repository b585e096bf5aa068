"""Rewards by hand."""

from importlib.metadata import EntryPoint

import pytest
import torch

from tats_gym import plugs
from tats_gym.envs.rewards import REWARDS, Reward, find_reward

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


def _neg_worst(errors):
    return -errors.amax(1)


_ACROSS = Reward(lambda errors, random_errors: random_errors.amax(1) - errors.amax(1), needs_random_mask=True)


@pytest.fixture(name="installed")
def _installed(monkeypatch):
    """Stand in for the metadata of installed packages: one has a reward in the group that docs/plugs.md names."""
    groups = {"tats_gym.rewards": [EntryPoint("neg_worst", f"{__name__}:_neg_worst", "tats_gym.rewards")]}
    monkeypatch.setattr(plugs, "entry_points", lambda *, group: groups.get(group, []))
    plugs._installed.cache_clear()
    yield
    plugs._installed.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_reward_of_another_package_is_found_by_its_name_and_suggested():
    found = find_reward("neg_worst")
    assert not found.needs_random_mask
    assert found(torch.tensor([[1.0, 3.0], [2.0, 0.5]])).tolist() == [-3.0, -2.0]
    with pytest.raises(ValueError, match=r"^reward must be one of .*; did you mean 'neg_worst'"):
        find_reward("neg_wurst")
    assert find_reward("gain") is REWARDS["gain"]


def test_a_reward_object_is_taken_as_it_is():
    assert find_reward(f"{__name__}:_ACROSS") is _ACROSS


def test_modules_beside_the_command_are_looked_for_only_where_one_is_named(monkeypatch):
    asked = []
    monkeypatch.setattr(plugs, "find_modules_here", lambda: asked.append(True))
    find_reward("neg_error")
    assert not asked
    find_reward(f"{__name__}:_ACROSS")
    assert asked


def test_objects_that_are_no_rewards_are_named():
    with pytest.raises(TypeError, match="REWARDS"):
        find_reward("tats_gym.envs.rewards:REWARDS")
    with pytest.raises(ValueError, match="needs the errors under a random mask"):
        REWARDS["gain"](torch.ones(2, 3))
