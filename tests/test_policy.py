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


@pytest.mark.parametrize("critic", ["separate", "pooled", "shared"])
@pytest.mark.parametrize("depth", [1, 2])
def test_every_critic_learns_what_clips_are_worth(critic, depth):
    """A value is the mean of one feature over the tokens: what its attention adds may not be in the way."""
    policy = _policy(critic=critic, depth=depth)
    tokens = torch.randn(16, 36, 64) + 2 * torch.randn(16, 1, 64)
    worth = tokens[:, :, 0].mean(1, keepdim=True)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(150):
        loss = (policy.predict_values(tokens) - worth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * worth.var()


def test_a_pooled_critic_draws_the_same_masks_as_a_separate_one():
    tokens = torch.randn(2, 36, 64)
    separate, pooled = (_policy(critic=critic) for critic in ("separate", "pooled"))
    assert pooled.predict_values(tokens).shape == (2, 1)
    pooled.load_state_dict(separate.state_dict())
    masks = [policy.get_distribution(tokens).distribution.logits for policy in (separate, pooled)]
    assert torch.equal(*masks)
