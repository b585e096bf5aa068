"""Agents name their needs of the environment, and users need not."""

import pytest

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.requirements import needs, settled


@needs(action="scores")
def build_for_test(env, config):
    """A third party's."""


def build_without_a_word(env, config):
    """Another one's."""


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
    assert settled(PretrainConfig(agent=agent, action=asked), find_agent(agent)).action == found


@pytest.mark.parametrize("agent", ["sac", "td3", "tqc", "tests.test_requirements:build_for_test"])
def test_other_actions_are_refused(agent):
    with pytest.raises(ValueError, match=f"--agent {agent} answers with scores, but --action ids was asked for"):
        settled(PretrainConfig(agent=agent, action="ids"), find_agent(agent))
