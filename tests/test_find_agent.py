"""An agent is found by its name or its path."""

import sys

import pytest

from tats_gym.agents import AGENTS, find_agent
from tats_gym.agents.peers.fixed import FixedMasks, RandomPolicy


def build_for_test(env, config):
    return FixedMasks(RandomPolicy, env, seed=config.seed)


def test_an_agent_is_found_by_name_and_by_path():
    assert find_agent("tats").__name__ == "build_tats"
    assert find_agent("tests.test_find_agent:build_for_test").__name__ == "build_for_test"


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
