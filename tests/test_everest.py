"""EVEREST's masks: the change of embeddings by hand, the pool of tokens, and what positions must not do."""

from dataclasses import replace

import pytest
import torch

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.everest import EverestConfig, EverestPolicy, embedding_change
from tats_gym.agents.requirements import resolve_settings
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.masks import most_moving_ids
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid
from tests.toy import GRID, WIDTH, toy_env

CLIPS = torch.zeros(2000, 3, 6, 32, 32, dtype=torch.uint8)  # 3 x 2 x 2 tokens


def test_change_is_the_distance_from_the_same_place_a_tubelet_earlier_by_hand():
    embedded = torch.tensor([[[0.0, 0], [1, 1], [3, 4], [1, 2], [3, 4], [-2, 6]]])  # 3 tubelets of 2 places
    change = embedding_change(embedded, 3)
    assert change.tolist() == [[5.0, 1.0, 5.0, 1.0, 0.0, 5.0]]  # the first tubelet counts as the second


def _policy(num_visible, pool, change=None):
    policy = EverestPolicy(TokenBox((12, 8), (3, 2, 2)), Subset(12, num_visible), config=EverestConfig(pool=pool))
    if change is not None:  # embeddings that differ by these numbers
        steps = torch.tensor(change, dtype=torch.float32).view(2, 4)
        embedded = torch.cat((torch.zeros(1, 4), steps[:1], steps.sum(0, keepdim=True))).reshape(1, 12, 1)
        policy.embed = lambda clips: embedded.expand(len(clips), -1, -1)
    return policy


CHANGE = [1, 2, 3, 4, 9, 8, 7, 6]
"""Of the second and third of three tubelets; the first has the second's: tokens 8, 9, 10, 11 change most, then 3, 7."""


def test_visible_tokens_are_drawn_alike_from_those_that_change_most():
    torch.manual_seed(0)
    ids = _policy(2, 0.5, CHANGE).ids_keep(CLIPS, 2)
    share = torch.bincount(ids.flatten(), minlength=12) / len(ids)
    pool = torch.tensor([8, 9, 10, 11, 3, 7])
    torch.testing.assert_close(share[pool], torch.full((6,), 2 / 6), atol=0.05, rtol=0)
    assert set(share.nonzero()[:, 0].tolist()) == {8, 9, 10, 11, 3, 7}
    assert (ids[:, 0] != ids[:, 1]).all()


@pytest.mark.parametrize("pool", [0.0, 0.16, 0.25])  # of 12 tokens 0, 1 and 3
def test_the_pool_holds_at_least_k_tokens(pool):
    ids = _policy(3, pool, CHANGE).ids_keep(CLIPS[:100], 3)
    assert {frozenset(row) for row in ids.tolist()} == {frozenset({8, 9, 10})}


def test_without_change_any_token_is_shown():
    torch.manual_seed(0)
    ids = _policy(2, 0.3, 8 * [0]).ids_keep(CLIPS, 2)
    share = torch.bincount(ids.flatten(), minlength=12) / len(ids)
    torch.testing.assert_close(share, torch.full((12,), 2 / 12), atol=0.05, rtol=0)


@pytest.fixture(name="agent")
def _agent(clips_root):
    config = PretrainConfig(agent="everest", num_envs=4, device="cpu", agent_settings={"pool": 0.0})
    env = toy_env(clips_root, 4)
    agent = find_agent("everest")(env, resolve_settings(config, find_agent("everest")))
    yield agent, env.vector_env
    env.close()


@pytest.mark.parametrize("pos_embed", ["sinusoid", "learned"])
def test_the_present_maes_embedding_is_compared_without_its_positions(agent, pos_embed):
    agent, env = agent
    config = MAEConfig(
        embed_dim=WIDTH, num_heads=1, depth=1, decoder_embed_dim=32, decoder_num_heads=1, decoder_depth=1,
        pos_embed=pos_embed,
    )  # fmt: skip
    mae = MaskedAutoencoder(config, TokenGrid(**GRID))
    with torch.no_grad():
        for parameter in mae.parameters():
            parameter.normal_()
    env.attach(mae)
    clips = env.clip_buffer.pixels
    tokens = mae.grid.cut(clips).double() / 255  # (B, 64, P)
    deviation = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).repeat_interleave(2 * 16 * 16)  # ImageNet's
    weight = mae.encoder.patch_embed.proj.weight.double().flatten(1)
    steps = (tokens[:, 16:] - tokens[:, :-16]) / deviation @ weight.T
    expected = torch.cat((steps[:, :16], steps), 1).norm(dim=-1)  # (B, 64)
    found = embedding_change(agent.policy.embed(clips), 4)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-3)
    ids = agent.rule_ids(env)
    assert [set(row) for row in ids.tolist()] == [set(row) for row in expected.topk(8).indices.tolist()]
    moving = most_moving_ids(mae.grid.shape, mae.grid.num_visible, clips)
    assert any(set(one) != set(two) for one, two in zip(ids.tolist(), moving.tolist(), strict=True))


def test_a_still_clip_has_no_change_that_rounding_would_order(agent):
    agent, env = agent
    env.attach(MaskedAutoencoder(MAEConfig(embed_dim=WIDTH, num_heads=1, depth=1), TokenGrid(**GRID)))
    still = torch.randint(256, (400, 3, 1, 64, 64), dtype=torch.uint8).expand(-1, -1, 8, -1, -1)
    torch.manual_seed(0)
    ids = torch.cat([agent.policy.ids_keep(part.contiguous(), 8) for part in still.split(50)])
    by_tubelet = torch.bincount(ids.flatten() // 16, minlength=4) / ids.numel()
    torch.testing.assert_close(by_tubelet, torch.full((4,), 1 / 4), atol=0.05, rtol=0)


def test_missing_requirements_are_named():
    policy = _policy(2, 0.3)
    with pytest.raises(ValueError, match=r"need an MAE: build the agent with find_agent\('everest'\)"):
        policy.ids_keep(CLIPS[:1], 2)
    with pytest.raises(ValueError, match="need at least two of them; choose a longer clip"):
        EverestPolicy(TokenBox((4, 8), (1, 2, 2)), Subset(4, 2))
    with pytest.raises(ValueError, match=r"pool must lie in \[0, 1\], got 1.5"):
        replace(EverestConfig(), pool=1.5)
