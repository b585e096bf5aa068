"""Agents name their needs of the environment, and users need not."""

import pytest

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.requirements import needs, resolve_settings


@needs(action="scores")
def build_for_test(env, config):
    """A third party's."""


@needs(masks_per_clip=2)
def build_with_two_masks(env, config):
    """Another one's."""


def build_without_a_word(env, config):
    """A third one's."""


@pytest.mark.parametrize(
    ("agent", "asked", "found"),
    [
        ("tats", None, "ids"),
        ("sac", None, "scores"),
        ("sac", "scores", "scores"),
        ("tats_gym.agents.stock.off_policy:build_sac", None, "scores"),
        ("tests.test_requirements:build_for_test", None, "scores"),
        ("tests.test_requirements:build_without_a_word", None, "ids"),
        ("tests.test_requirements:build_without_a_word", "scores", "scores"),
    ],
)
def test_an_agent_is_given_the_actions_that_it_answers_with(agent, asked, found):
    assert resolve_settings(PretrainConfig(agent=agent, action=asked), find_agent(agent)).action == found


@pytest.mark.parametrize("agent", ["sac", "td3", "tqc", "tests.test_requirements:build_for_test"])
def test_other_actions_are_refused(agent):
    with pytest.raises(ValueError, match=f"--agent {agent} answers with scores, but --action ids was asked for"):
        resolve_settings(PretrainConfig(agent=agent, action="ids"), find_agent(agent))


def test_settings_that_the_user_leaves_open_are_those_the_agent_needs():
    config = PretrainConfig(agent="tests.test_requirements:build_with_two_masks")
    assert (config.masks_per_clip, config.action) == (None, None)
    found = resolve_settings(config, find_agent(config.agent))
    assert (found.masks_per_clip, found.action) == (2, "ids")
    own = PretrainConfig(masks_per_clip=8)
    assert resolve_settings(own, find_agent("group")).masks_per_clip == 8
    assert resolve_settings(own, find_agent("tats")).masks_per_clip == 8
