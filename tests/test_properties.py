"""Properties of every mask, distribution, reward and credit, over sizes and numbers that hypothesis chooses."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tats_gym import masks
from tats_gym.agents import AGENTS, find_agent
from tats_gym.agents.config import OffPolicyConfig, PretrainConfig, TatsConfig
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.agents.training.predict import choose
from tats_gym.envs import TokenSelectionVecEnv, TokenSelectionVectorEnv
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.rewards import REWARDS
from tats_gym.envs.spaces import Subset, TokenBox, first_invalid_index
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid

# The same examples each time, on a machine of any speed.
SAME = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SEEDS = st.integers(0, 2**31)


@st.composite
def grids(draw, multiple_of=lambda t, side: 1, tubelets=1):
    """Grids of 2 to 64 tokens, with any K that is a multiple of a number, by itself or by a mask ratio."""
    t, side = draw(st.integers(tubelets, 4)), draw(st.integers(1, 4))
    tubelet_size = draw(st.integers(1, 2))
    shape = {"frames": t * tubelet_size, "size": 16 * side, "tubelet_size": tubelet_size, "patch_size": 16}
    number, length = multiple_of(t, side), t * side * side
    assume(number < length)
    if number == 1 and draw(st.booleans()):
        ratio = draw(st.floats(0.01, 0.99))
        assume(0 < int(length * (1 - ratio) + 1e-6) < length)
        return TokenGrid(**shape, mask_ratio=ratio)
    return TokenGrid(**shape, visible=number * draw(st.integers(1, (length - 1) // number)))


def _check_legal(ids, grid, count):
    assert ids.shape == (count, grid.num_visible)
    assert ids.dtype == torch.int64
    assert first_invalid_index(ids.numpy(), grid.num_tokens) is None
    mask = masks.mask_from_ids(ids, grid.num_tokens)
    hidden = masks.hidden_ids(mask, grid.num_hidden)
    assert torch.cat([ids, hidden], 1).sort(1).values.tolist() == [list(range(grid.num_tokens))] * count
    return ~mask.view(-1, grid.shape[0], grid.shape[1] * grid.shape[2])  # (B, t, h * w) shown


@SAME
@given(grids(tubelets=2), st.integers(1, 5), SEEDS)
def test_masks_by_a_rule_show_k_distinct_tokens(grid, count, seed):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(0, 256, (count, *grid.clip_shape), dtype=torch.uint8, generator=generator)
    clips *= torch.randint(0, 2, (count, 1, 1, 1, 1), dtype=torch.uint8, generator=generator)  # some stand still
    _check_legal(masks.uniform_ids(grid.shape, grid.num_visible, count, generator), grid, count)
    _check_legal(masks.block_ids(grid.shape, grid.num_visible, count, generator), grid, count)
    _check_legal(masks.most_moving_ids(grid.shape, grid.num_visible, clips, generator), grid, count)


@SAME
@given(grids(lambda t, side: t), st.integers(1, 5), SEEDS)
def test_tube_masks_show_the_same_places_at_all_times(grid, count, seed):
    shown = _check_legal(
        masks.tube_ids(grid.shape, grid.num_visible, count, torch.Generator().manual_seed(seed)), grid, count
    )
    assert (shown == shown[:, :1]).all()


@SAME
@given(grids(lambda t, side: side * side), st.integers(1, 5), SEEDS)
def test_frame_masks_show_all_of_a_tubelet_or_none_of_it(grid, count, seed):
    shown = _check_legal(
        masks.frame_ids(grid.shape, grid.num_visible, count, torch.Generator().manual_seed(seed)), grid, count
    )
    assert (shown.all(2) == shown.any(2)).all()


@SAME
@given(grids(), st.lists(st.sampled_from([0.0, 1e-38, 1e-8, 1.0, 3e38]), min_size=64, max_size=64), SEEDS)
def test_weighted_masks_show_the_first_tokens_and_none_twice(grid, weights, seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 2, (3, grid.num_tokens), generator=generator).bool()
    ids = masks.weighted_ids(
        torch.tensor(weights)[: grid.num_tokens].expand(3, -1), grid.num_visible, first=first, generator=generator
    )
    _check_legal(ids, grid, 3)
    shown_first = first.gather(1, ids).sum(1)
    assert torch.equal(shown_first, first.sum(1).clamp(max=grid.num_visible))


@pytest.mark.parametrize("agent", AGENTS)
@settings(SAME, max_examples=6)
@given(data=st.data())
def test_masks_of_every_agent_are_k_distinct_tokens(clips_root, agent, data):
    multiple_of = {"tube": lambda t, side: t, "frame": lambda t, side: side * side}.get(agent, lambda *_: 1)
    grid = data.draw(grids(multiple_of, tubelets=2 if agent in ("motion", "everest") else 1))
    loud = data.draw(st.sampled_from([0.0, 1.0, 1e3]))
    shape = {"frames": grid.frames, "size": grid.size, "tubelet_size": grid.tubelet_size, "patch_size": 16}
    config = PretrainConfig(
        agent=agent,
        num_envs=4,
        device="cpu",
        epoch_masks=4,
        grid=TokenGrid(**shape, visible=grid.num_visible),
        sampler=SamplerConfig(head_dim=8),
        tats=TatsConfig(warmup_epochs=0),
        off_policy=OffPolicyConfig(buffer_size=8),
    )
    config = resolve_settings(config, find_agent(agent))
    vector_env = TokenSelectionVectorEnv(
        4, data="folder", root=str(clips_root), stride=1, num_workers=0, device="cpu", **shape,
        visible=grid.num_visible, action=config.action, masks_per_clip=config.masks_per_clip,
    )  # fmt: skip
    vector_env.attach(MaskedAutoencoder(MAEConfig(embed_dim=16, num_heads=2), grid))
    env = TokenSelectionVecEnv(vector_env)
    policy = find_agent(agent)(env, config).policy
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_().mul_(loud)  # from all tokens alike to one that drowns the others
    env.seed(0)
    env.reset()
    buffer = vector_env.clip_buffer
    tokens, clips = buffer.for_each_mask(vector_env.observe()), buffer.for_each_mask(buffer.pixels)
    _check_legal(choose(policy, tokens, clips, grid.num_visible), grid, 4)
    env.close()


# --- The distribution over masks -------------------------------------------------------------------------------------

LOGITS = st.lists(
    st.one_of(st.floats(-3, 3), st.floats(-1e4, 1e4), st.sampled_from([0.0, 1e4, -1e4])), min_size=2, max_size=6
)


@SAME
@given(LOGITS, st.data())
def test_probabilities_of_all_ordered_masks_sum_to_one(logits, data):
    num_visible = data.draw(st.integers(1, len(logits) - 1))
    draws = torch.tensor(list(permutations(range(len(logits)), num_visible)))
    logits = torch.tensor(logits, dtype=torch.float64)
    distribution = PlackettLuce(logits.expand(len(draws), -1), num_visible)
    log_prob = distribution.log_prob(draws)  # (all, K)
    assert log_prob.isfinite().all()
    assert log_prob.max() < 1e-9
    assert log_prob.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-9)
    # Of the first draw: by the tokens' own log-probabilities, which sum to one too, and by all masks that begin so.
    first = distribution.token_log_prob[0]
    assert first.exp().sum().item() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(log_prob[:, 0], first[draws[:, 0]], atol=1e-8, rtol=1e-12)
    joint = log_prob.sum(1).exp()
    for token in range(len(logits)):
        assert joint[draws[:, 0] == token].sum().item() == pytest.approx(first[token].exp().item(), abs=1e-9)


@SAME
@given(LOGITS, st.data())
def test_entropies_are_those_of_a_plain_loop(logits, data):
    num_visible = data.draw(st.integers(1, len(logits) - 1))
    draw = data.draw(st.permutations(range(len(logits))))[:num_visible]
    distribution = PlackettLuce(torch.tensor([logits], dtype=torch.float64), num_visible)
    left, entropies = list(range(len(logits))), []
    for token in draw:
        highest = max(logits[j] for j in left)
        weights = [math.exp(logits[j] - highest) for j in left]
        shares = [weight / sum(weights) for weight in weights]
        entropies.append(-sum(share * math.log(share) for share in shares if share > 0))
        left.remove(token)
    assert distribution.entropy().item() == pytest.approx(entropies[0], abs=1e-8)
    assert distribution.entropy_along(torch.tensor([draw])).item() == pytest.approx(sum(entropies), abs=1e-7)


# --- Rewards and credit ----------------------------------------------------------------------------------------------


@SAME
@given(st.integers(1, 4), st.integers(1, 6), SEEDS)
def test_rewards_are_those_of_a_plain_loop(batch_size, num_hidden, seed):
    generator = torch.Generator().manual_seed(seed)
    errors, random_errors = torch.rand(2, batch_size, num_hidden, dtype=torch.float64, generator=generator) * 3
    for b in range(batch_size):
        own = sum(errors[b].tolist()) / num_hidden
        other = sum(random_errors[b].tolist()) / num_hidden
        expected = {"error": own, "neg_error": -own, "gain": other - own}
        assert REWARDS.keys() == expected.keys()
        for name, reward in expected.items():
            assert REWARDS[name](errors, random_errors)[b].item() == pytest.approx(reward, abs=1e-12)


def _by_hand(errors, mask, hidden, rewards, values, *, per_token, baseline, group):
    """Advantages and returns by the words of the documentation, one number after another."""
    length, advantages, returns = len(mask[0]), [], []
    for b in range(len(mask)):
        predicted = [i for i in range(length) if mask[b][i]]
        returns.append(sum(errors[b][i] for i in predicted) / len(predicted) if per_token else rewards[b])
    for b in range(len(mask)):
        clip = range(b // group * group, b // group * group + group)
        others = [returns[other] for other in clip if other != b]
        subtracted = {"value": values[b], "none": 0.0, "group": sum(others) / max(1, len(others))}[baseline]
        if not per_token:
            advantages.append(rewards[b] - subtracted)
            continue
        advantages.append([errors[b][i] - subtracted if mask[b][i] else 0.0 for i in hidden[b]])
    return advantages, returns


@SAME
@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 7), st.booleans(), st.data())
def test_credit_is_that_of_a_plain_loop(clips, group, length, per_token, data):
    baseline = data.draw(st.sampled_from(["value", "none"] + ["group"] * (group > 1)))
    num_visible = data.draw(st.integers(1, length - 1))
    count, generator = clips * group, torch.Generator().manual_seed(data.draw(SEEDS))
    ids = masks.random_ids(count, length, num_visible, generator=generator)
    hidden = masks.hidden_ids(masks.mask_from_ids(ids, length), length - num_visible)
    predicted = hidden[:, : data.draw(st.integers(1, length - num_visible))]  # decode_ratio leaves some out
    mask = torch.zeros(count, length, dtype=torch.bool).scatter_(1, predicted, True)
    errors = torch.rand(count, length, dtype=torch.float64, generator=generator) * 3 * mask
    rewards, values = torch.randn(2, count, dtype=torch.float64, generator=generator)
    buffer = TokenRolloutBuffer(
        1, TokenBox((length, 4), (length, 1, 1)), Subset(length, num_visible), "cpu", n_envs=count,
        credit="token" if per_token else "joint", baseline=baseline, masks_per_clip=group,
        normalize_advantage=False,
    )  # fmt: skip
    log_prob = torch.zeros(count, length - num_visible) if per_token else torch.zeros(count)
    clip_ids = torch.arange(count)
    outcome = Outcome(rewards, errors, mask, clip_ids, clip_ids)
    buffer.add_step(torch.zeros(clips, length, 4), ids, values, log_prob, outcome)
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(count, dtype=bool))
    found = next(buffer.get())
    advantages, returns = _by_hand(
        errors.tolist(), mask.tolist(), hidden.tolist(), rewards.tolist(), values.tolist(),
        per_token=per_token, baseline=baseline, group=group,
    )  # fmt: skip
    kept = [[mask[b, i].item() for i in row] for b, row in enumerate(hidden.tolist())] if per_token else [True] * count
    assert found.predicted.tolist() == kept
    np.testing.assert_allclose((found.advantages * found.predicted).numpy(), advantages, atol=1e-12)
    np.testing.assert_allclose(found.returns.numpy(), returns, atol=1e-12)
    np.testing.assert_allclose(buffer.returns, returns, atol=1e-12)
