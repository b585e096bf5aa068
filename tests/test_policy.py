"""What the sampler's networks can tell apart."""

import pytest
import torch

from agents.policy import SamplerConfig, TatsPolicy
from envs.spaces import Subset, TokenBox

GRID = (4, 3, 3)


def _policy(**sampler):
    torch.manual_seed(0)
    policy = TatsPolicy(TokenBox((36, 64), GRID), Subset(36, 7), lambda _: 1e-3, sampler=SamplerConfig(**sampler))
    torch.nn.init.normal_(policy.actor_head.weight)
    return policy


@pytest.mark.parametrize(("positions", "apart"), [("tokens", False), ("learned", True)])
def test_tokens_of_one_content_are_told_apart_by_learned_positions(positions, apart):
    logits = _policy(positions=positions).get_distribution(torch.ones(2, 36, 64)).distribution.logits
    assert (logits.std(1) > 0.1).all() == apart
    assert (logits.std(1) < 1e-4).all() != apart


def test_learned_positions_count_whatever_the_scale_of_the_content():
    policy = _policy(positions="learned")
    tokens = torch.randn(2, 36, 64)
    one, other = (policy.get_distribution(scale * tokens).distribution.logits for scale in (1, 1000))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_unknown_positions_are_refused():
    with pytest.raises(ValueError, match=r"positions must be one of \('tokens', 'learned'\), got 'sincos'"):
        SamplerConfig(positions="sincos")
