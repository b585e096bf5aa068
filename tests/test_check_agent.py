"""The contract of an agent, run on ours and on agents that break its rules, each in one way."""

import pytest
import torch

from tats_gym.agents import FixedMasks, FixedPolicy, needs
from tats_gym.agents.builders import build_group
from tats_gym.agents.peers.fixed import RandomPolicy
from tats_gym.contracts import check_agent


@pytest.fixture(autouse=True)
def _demo(demo_root, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(demo_root.parent))


@pytest.mark.parametrize(("name", "settings"), [("group", {}), ("sac", {}), ("adamae", {"num_heads": 4})])
def test_agents_of_this_package_keep_the_contract(name, settings):
    check_agent(name, **settings)


class Repeats(FixedPolicy):
    def ids_keep(self, clips, num_visible):
        return torch.zeros(len(clips), num_visible, dtype=torch.int64)


class Short(RandomPolicy):
    def ids_keep(self, clips, num_visible):
        return super().ids_keep(clips, num_visible)[:, 1:]


def repeats(env, config):
    return FixedMasks(Repeats, env, seed=config.seed, device="cpu")


def short(env, config):
    return FixedMasks(Short, env, seed=config.seed, device="cpu")


class Untold(RandomPolicy):
    """Chooses by weights that SB3 does not save."""

    def ids_keep(self, clips, num_visible):
        scores = torch.randn(self.num_tokens, generator=torch.Generator().manual_seed(self.builds))
        return scores.topk(num_visible).indices.expand(len(clips), -1)


def untold(env, config):
    agent = FixedMasks(Untold, env, seed=config.seed, device="cpu")
    untold.builds = agent.policy.builds = getattr(untold, "builds", 0) + 1
    return agent


@needs(masks_per_clip=2)
def unseeded(env, config):
    agent = build_group(env, config)
    torch.seed()
    for weights in agent.policy.parameters():
        torch.nn.init.normal_(weights, std=0.02)
    return agent


@needs(masks_per_clip=2)
def forgetful(env, config):
    agent = build_group(env, config)
    agent._get_torch_save_params = lambda: (["policy"], [])  # not the optimiser's moments
    return agent


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("repeats", r"must be distinct tokens below 32, got \[0, 0, "),
        ("short", r"must be K tokens, \(B, K\) = \(4, 16\), got \(4, 15\)"),
        ("untold", "must mask alike when it is loaded from a checkpoint"),
        ("unseeded", "must draw weights and masks from config.seed: equal seeds, equal agents; these weights differ"),
        ("forgetful", "must hold its whole state in its SB3 parameters"),
    ],
)
def test_an_agent_that_breaks_a_rule_is_told_which(name, rule):
    with pytest.raises(AssertionError, match=rf"{__name__}:{name} {rule}|masks of {__name__}:{name} {rule}"):
        check_agent(f"{__name__}:{name}")


def no_algorithm(env, config):
    return 3


def test_an_object_that_is_no_algorithm_is_refused():
    with pytest.raises(TypeError, match="no_algorithm must make an SB3 algorithm, got int"):
        check_agent(f"{__name__}:no_algorithm")
