"""An agent is found by its name or its path, and its needs are settled."""

import sys

import pytest

from tats_gym.agents import AGENTS, find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import FixedMasks, RandomPolicy
from tats_gym.agents.requirements import needs, settled


@needs(masks_per_clip=2)
def build_for_test(env, config):
    return FixedMasks(RandomPolicy, env, seed=config.seed)


def test_an_agent_is_found_by_name_and_by_path():
    assert find_agent("tats").__name__ == "build_tats"
    assert find_agent("tests.test_find_agent:build_for_test").__name__ == "build_for_test"


def test_settings_that_the_user_leaves_open_are_those_the_agent_needs():
    config = PretrainConfig(agent="tests.test_find_agent:build_for_test")
    assert (config.masks_per_clip, config.action) == (None, None)
    found = settled(config, find_agent(config.agent))
    assert (found.masks_per_clip, found.action) == (2, "ids")
    own = PretrainConfig(masks_per_clip=8)
    assert settled(own, find_agent("group")).masks_per_clip == 8
    assert settled(own, find_agent("tats")).masks_per_clip == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tatts", "did you mean 'tats'"),
        ("no_such_module:build", "there is no 'build' to import from 'no_such_module'"),
        ("tats_gym.agents.tats:bulid", "there is no 'bulid'"),
    ],
)
def test_unknown_agents_are_named(name, message):
    with pytest.raises(ValueError, match=message):
        find_agent(name)


def test_a_package_that_is_not_installed_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)  # as where it is not installed
    for name in ("trpo", "tqc"):
        monkeypatch.delitem(sys.modules, AGENTS[name].builder.partition(":")[0], raising=False)
        with pytest.raises(ValueError, match=rf"--agent {name} needs sb3_contrib: pip install 'tats-gym\[contrib\]'"):
            find_agent(name)
    assert find_agent("sac").__name__ == "build_sac"


def test_actions_that_an_agent_does_not_answer_with_are_refused():
    with pytest.raises(ValueError, match="--agent sac answers with scores, but --action ids was asked for"):
        settled(PretrainConfig(agent="sac", action="ids"), find_agent("sac"))
