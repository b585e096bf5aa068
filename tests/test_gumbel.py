"""Masks by backpropagation: the soft choice, the gradient of the error, and the agent."""

import pytest
import torch
from scipy.optimize import brentq

from tats_gym.agents.peers.gumbel import GumbelTopK, soft_top_k
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.tats import TatsConfig
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.masks import random_ids
from tats_gym.model.errors import gated_error
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid
from tests.layouts import SMALL

GRID = TokenGrid(frames=4, size=32, visible=3)  # 8 tokens
SIZES = {
    **{"embed_dim": 16, "depth": 1, "num_heads": 2},
    **{"decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 2},
}


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_soft_choices_are_those_of_another_solver_of_the_threshold(temperature):
    torch.manual_seed(0)
    scores = 2 * torch.randn(4, 9, dtype=torch.float64)
    for row, choices in zip(scores, soft_top_k(scores, 3, temperature), strict=True):
        threshold = brentq(lambda at, row=row: ((row - at) / temperature).sigmoid().sum().item() - 3, -99, 99)
        torch.testing.assert_close(choices, ((row - threshold) / temperature).sigmoid())


def test_soft_choices_become_hard_ones_at_a_low_temperature():
    scores = torch.tensor([[0.3, -1.0, 2.0, 0.1]])
    torch.testing.assert_close(soft_top_k(scores, 2, 1e-3), torch.tensor([[1.0, 0.0, 1.0, 0.0]]))


def test_the_gradient_of_soft_choices_knows_that_the_threshold_moves():
    torch.manual_seed(0)
    scores = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: soft_top_k(z, 2, 0.7), scores)
    (gradient,) = torch.autograd.grad(soft_top_k(scores, 2, 0.7).sum(), scores)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))  # the sum is always 2


@pytest.fixture(name="mae")
def _mae():
    torch.manual_seed(0)
    return MaskedAutoencoder(MAEConfig(**SIZES), GRID).double()


def test_the_error_is_the_maes_own_and_its_gradient_that_of_scaled_tokens_and_of_errors_that_count_less(mae):
    clips = torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8)
    ids = random_ids(4, 8, 3)  # two masks of each clip
    gates = torch.zeros(4, 8, dtype=torch.float64, requires_grad=True)
    error = gated_error(mae, clips, ids, gates)
    found = mae(clips, ids)
    torch.testing.assert_close(error, found.errors.mean(1))
    (gradient,) = torch.autograd.grad(error.sum(), gates)
    torch.testing.assert_close(gradient.gather(1, found.ids_hidden), -found.errors / 5)

    embed, step = mae.encoder.embed, 1e-6
    for mask, place in ((0, 1), (3, 2)):
        means = []
        for sign in (1, -1):

            def scaled(patches, pos_embed, mask=mask, place=place, sign=sign):
                tokens = embed(patches, pos_embed).clone()
                tokens[mask, place] *= 1 + sign * step
                return tokens

            mae.encoder.embed = scaled
            means.append(mae(clips, ids).errors.mean(1)[mask].item())
        mae.encoder.embed = embed
        assert gradient[mask, ids[mask, place]].item() == pytest.approx((means[0] - means[1]) / (2 * step), rel=1e-4)


def _learner(clips_root, **changes):
    env = TokenSelectionVectorEnv(4, data="folder", root=str(clips_root), **SMALL, **changes)
    torch.manual_seed(0)
    env.attach(MaskedAutoencoder(MAEConfig(**SIZES), env.grid))
    config = TatsConfig(learning_rate=1e-2, policy_coef=1.0, ent_coef=0.0)
    policy = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    sampler = SamplerConfig(head_dim=8, critic="none")
    made = GumbelTopK(TokenSelectionVecEnv(env), config, sampler=sampler, seed=0, device="cpu", policy_kwargs=policy)
    return made, env


def _step_of(clips_root, reward):
    """The change of the sampler's last bias-free layer by one update, and the MAE's gradients after it."""
    learner, env = _learner(clips_root, reward=reward)
    before = learner.policy.actor_head.weight.detach().clone()
    learner.learn(4)
    gradients = [parameter.grad for parameter in env.mae.parameters()]
    env.close()
    return learner.policy.actor_head.weight.detach() - before, gradients


def test_the_reward_error_climbs_where_neg_error_descends_and_no_gradient_reaches_the_mae(clips_root):
    down, gradients = _step_of(clips_root, "neg_error")
    up, _ = _step_of(clips_root, "error")
    assert down.abs().max() > 0
    torch.testing.assert_close(up, -down)
    assert gradients == [None] * len(gradients)


def test_a_reward_that_is_no_function_of_the_mean_error_is_refused(clips_root):
    with pytest.raises(ValueError, match=r"reward must be one of .*'neg_error'.*got 'tests.test_gumbel:worst'"):
        _learner(clips_root, reward="tests.test_gumbel:worst")


def worst(errors):
    """A reward of another package."""
    return -errors.amax(1)
