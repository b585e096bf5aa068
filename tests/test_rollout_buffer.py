"""The rollout buffer: credit by hand, and its minibatches."""

import numpy as np
import pytest
import torch

from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.spaces import Subset, TokenBox


def _buffer(steps=1, grid=(2, 2, 1), n_envs=2, **changes):
    settings = {"baseline": "value", "masks_per_clip": 1, "normalize_advantage": False} | changes
    return TokenRolloutBuffer(steps, TokenBox((4, 8), grid), Subset(4, 1), "cpu", n_envs=n_envs, **settings)


def _outcome():
    errors = torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 0.0, 2.0, 0.0]])
    errors[1, 3] = 6.0
    mask = torch.tensor([[False, True, True, True], [True, False, True, True]])
    which = torch.tensor([0, 1])
    return Outcome(rewards=torch.tensor([-2.0, -4.0]), errors=errors, predicted=mask, clips=which, positions=which)


def _keep(buffer, log_prob):
    ids = torch.tensor([[0], [1]])
    buffer.add_step(torch.zeros(2, 4, 8), ids, torch.tensor([[1.5], [2.0]]), log_prob, _outcome())
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(2, dtype=bool))
    return next(buffer.get())


def test_per_token_credit_by_hand():
    data = _keep(_buffer(credit="token"), torch.zeros(2, 3))
    # e_i - V of the hidden tokens, 1 2 3 and 0 2 3
    torch.testing.assert_close(data.advantages, torch.tensor([[-0.5, 0.5, 1.5], [2.0, 0.0, 4.0]]))
    torch.testing.assert_close(data.returns, torch.tensor([2.0, 4.0]))  # mean hidden errors


def test_per_token_credit_is_that_of_the_predicted_tokens():
    outcome = _outcome()
    outcome.predicted[:, 3], outcome.errors[:, 3] = False, 0
    buffer = _buffer(credit="token")
    buffer.add_step(
        torch.zeros(2, 4, 8), torch.tensor([[0], [1]]), torch.tensor([1.5, 2.0]), torch.zeros(2, 3), outcome
    )
    data = next(buffer.get())
    assert data.predicted.tolist() == [[True, True, False]] * 2
    torch.testing.assert_close(data.advantages[:, :2], torch.tensor([[-0.5, 0.5], [2.0, 0.0]]))
    torch.testing.assert_close(data.returns, torch.tensor([1.5, 3.0]))


def test_per_token_credit_without_a_baseline_pays_the_error():
    data = _keep(_buffer(credit="token", baseline="none"), torch.zeros(2, 3))
    torch.testing.assert_close(data.advantages, torch.tensor([[1.0, 2.0, 3.0], [4.0, 2.0, 6.0]]))


def test_per_mask_credit_pays_the_reward():
    data = _keep(_buffer(credit="joint"), torch.zeros(2))
    torch.testing.assert_close(data.advantages, torch.tensor([-3.5, -6.0]))
    torch.testing.assert_close(data.returns, torch.tensor([-2.0, -4.0]))
    assert (data.predicted.dtype, data.predicted.tolist()) == (torch.bool, [True, True])


def test_the_advantage_of_a_mask_compares_it_with_the_others_of_its_clip():
    token, mask = (
        _keep(_buffer(credit=credit, baseline="group", masks_per_clip=2), log_prob)
        for credit, log_prob in (("token", torch.zeros(2, 3)), ("joint", torch.zeros(2)))
    )
    torch.testing.assert_close(mask.advantages, torch.tensor([-2.0 + 4.0, -4.0 + 2.0]))
    # hidden tokens of the first mask err by 2 in the mean, of the second by 4: each is the other's baseline
    torch.testing.assert_close(token.advantages, torch.tensor([[-3.0, -2.0, -1.0], [2.0, 0.0, 4.0]]))


def test_each_of_three_masks_is_compared_with_the_mean_of_two():
    buffer = _buffer(n_envs=6, credit="joint", baseline="group", masks_per_clip=3)
    rewards = torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, -8.0])  # others: 4, 3.5, 1.5; -4, -4, 0
    which = torch.arange(6)
    outcome = Outcome(rewards, torch.zeros(6, 4), torch.ones(6, 4, dtype=torch.bool), which, which)
    buffer.add_step(torch.zeros(2, 4, 8), which[:, None] % 4, torch.full((6,), 9.0), torch.zeros(6), outcome)
    assert next(buffer.get()).advantages.tolist() == [-3.0, -1.5, 4.5, 4.0, 4.0, -8.0]


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("dr_grpo", [-2.0, -1.0, 3.0, 8 / 3, 8 / 3, -16 / 3]),
        ("grpo", [-2 / 7**0.5, -1 / 7**0.5, 3 / 7**0.5, 3**-0.5, 3**-0.5, -2 * 3**-0.5]),  # variances 7 and 64 / 3
    ],
)
def test_grpo_compares_with_all_masks_of_the_clip_and_divides_by_their_deviation(baseline, expected):
    buffer = _buffer(n_envs=6, credit="draw", baseline=baseline, masks_per_clip=3)
    rewards = torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, -8.0])
    ids = torch.tensor([[0, 1], [1, 2], [2, 3]] * 2)
    outcome = Outcome(rewards, torch.zeros(6, 4), torch.ones(6, 4, dtype=torch.bool), torch.arange(6), torch.arange(6))
    buffer.add_step(torch.zeros(2, 4, 8), ids, torch.full((6,), 9.0), torch.zeros(6, 2), outcome)
    batch = next(buffer.get())
    assert batch.predicted.all()
    torch.testing.assert_close(batch.advantages, torch.tensor(expected)[:, None].expand(-1, 2))
    torch.testing.assert_close(batch.returns, rewards)


def test_alike_masks_of_a_clip_teach_nothing():
    buffer = _buffer(n_envs=2, credit="joint", baseline="grpo", masks_per_clip=2)
    outcome = _outcome()._replace(rewards=torch.tensor([-0.3, -0.3]))
    buffer.add_step(torch.zeros(1, 4, 8), torch.tensor([[0], [1]]), torch.zeros(2), torch.zeros(2), outcome)
    assert next(buffer.get()).advantages.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("credit", ["token", "marginal"])
def test_grpo_needs_a_reward_for_each_mask(credit):
    with pytest.raises(ValueError, match=rf"baseline 'grpo' compares rewards: credit must be one of .*got '{credit}'"):
        _buffer(credit=credit, baseline="grpo", masks_per_clip=2)


def test_a_group_of_one_has_no_others():
    with pytest.raises(ValueError, match="baseline 'group' needs at least two masks a clip, got masks_per_clip 1"):
        _buffer(credit="token", baseline="group")
    with pytest.raises(ValueError, match="baseline must be one of value, group, dr_grpo, grpo, none; got 'mean'"):
        _buffer(credit="token", baseline="mean")


def test_minibatches_keep_the_masks_of_a_clip_together():
    buffer = _buffer(steps=3, n_envs=4, credit="joint", baseline="group", masks_per_clip=2)
    for step in range(3):
        tokens = 2.0 * step + torch.arange(2.0)[:, None, None].expand(-1, 4, 8)  # a number for each of six clips
        clips = tokens[:, 0, 0].repeat_interleave(2)
        outcome = _outcome()._replace(rewards=clips)
        buffer.add_step(tokens, clips.long()[:, None] % 4, torch.zeros(4), torch.zeros(4), outcome)
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(4, dtype=bool))
    seen = list(buffer.get(batch_size=4))
    assert [(len(data.observations), len(data.actions)) for data in seen] == [(2, 4)] * 3
    for data in seen:
        assert torch.equal(data.observations[:, 0, 0].repeat_interleave(2), data.returns)
    assert sorted(torch.cat([data.returns for data in seen]).tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_policy_of_another_credit_is_refused():
    with pytest.raises(ValueError, match=r"log-probabilities have shape \(2,\), advantages \(2, 3\)"):
        _keep(_buffer(credit="token"), torch.zeros(2))


@pytest.mark.parametrize("steps", [2, 3])
def test_minibatches_cover_the_rollout_once(steps):
    buffer = _buffer(steps=steps, credit="joint")
    for step in range(steps):
        tokens = torch.full((2, 4, 8), float(step))
        buffer.add_step(tokens, torch.tensor([[0], [1]]), torch.zeros(2), torch.zeros(2), _outcome())
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(2, dtype=bool))
    seen = [(data.observations[:, 0, 0], data.actions) for data in buffer.get(batch_size=2)]
    assert [len(s) for s, _ in seen] == steps * [2]
    rows = sorted((int(step), int(ids)) for steps, actions in seen for step, ids in zip(steps, actions, strict=True))
    assert rows == [(step, token) for step in range(steps) for token in (0, 1)]
    assert buffer.values.shape == buffer.returns.shape == (2 * steps,)


def test_an_unfinished_rollout_is_not_handed_out():
    with pytest.raises(RuntimeError, match="holds 0 of 1 steps"):
        next(_buffer(credit="token").get())


def _rollout(**settings):
    """Store two masks of a clip, 0 and 3 of four tokens visible; return the batch."""
    buffer = _buffer(grid=(2, 1, 2), credit="marginal", reach="place", far_weight=0.0, **settings)
    errors = torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 2.0, 6.0, 0.0]])
    mask = torch.tensor([[False, True, True, True], [True, True, True, False]])
    which = torch.tensor([0, 0])
    outcome = Outcome(torch.zeros(2), errors, mask, which, which)
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(2, -1)
    buffer.add_step(torch.zeros(2, 4, 8), torch.tensor([[0], [3]]), values, torch.zeros(2, 1), outcome)
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(2, dtype=bool))
    return buffer, next(buffer.get())


def test_each_draw_has_an_advantage_and_each_hidden_token_a_return():
    buffer, batch = _rollout()
    # Token 0 with its place, token 2: V_0 + V_2 - e_2, token 3 with token 1; minus the mean V. A third of each.
    by_hand = torch.tensor([[1.0 + (3.0 - 2.0) - 2.5], [4.0 + (2.0 - 2.0) - 2.5]]) / 3
    torch.testing.assert_close(batch.advantages, by_hand)
    assert batch.predicted.all()
    assert batch.has_return.tolist() == [[False, True, True, True], [True, True, True, False]]
    assert buffer.returns.tolist() == [1.0, 2.0, 3.0, 4.0, 2.0, 6.0]
    assert buffer.values.tolist() == [2.0, 3.0, 4.0, 1.0, 2.0, 3.0]


def test_the_other_masks_of_the_clip_say_which_error_to_expect():
    _, batch = _rollout(baseline="group", masks_per_clip=2)
    # The first mask expects the second's errors 4, 2, 6; token 3 was visible there and has that mask's mean, 4. The
    # second expects 1, 2, 3 and for token 0 their mean, 2.
    by_hand = torch.tensor([[4.0 + (6.0 - 2.0) - 4.0], [3.0 + (1.0 - 2.0) - 2.0]]) / 3
    torch.testing.assert_close(batch.advantages, by_hand)


def test_a_single_advantage_is_left_as_it_is():
    """It has no deviation; SB3's PPO leaves the one of a minibatch alone too."""
    buffer = _buffer(n_envs=1, credit="joint", normalize_advantage=True)
    which = torch.zeros(1, dtype=torch.long)
    outcome = Outcome(torch.tensor([3.0]), torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool), which, which)
    buffer.add_step(torch.zeros(1, 4, 8), which[:, None], torch.ones(1, 1), torch.zeros(1), outcome)
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(1, dtype=bool))
    assert next(buffer.get()).advantages.tolist() == [2.0]


def test_advantages_that_hardly_differ_stay_small():
    """SB3's PPO adds 1e-8 to the deviation too, which is 1e-8 here."""
    buffer = _buffer(credit="joint", baseline="none", normalize_advantage=True)
    outcome = _outcome()._replace(rewards=torch.tensor([1e-8, -1e-8]) / 2**0.5)
    buffer.add_step(torch.zeros(2, 4, 8), torch.tensor([[0], [1]]), torch.zeros(2), torch.zeros(2), outcome)
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(2, dtype=bool))
    torch.testing.assert_close(next(buffer.get()).advantages, torch.tensor([1.0, -1.0]) / 8**0.5)


def test_advantages_are_brought_to_mean_0_and_deviation_1():
    _, batch = _rollout(normalize_advantage=True)
    root = 0.5**0.5
    torch.testing.assert_close(batch.advantages, torch.tensor([[-root], [root]]))


def _kept(credit):
    buffer = _buffer(credit=credit)
    mask = torch.tensor([[False, True, True, True], [True, False, True, True]])
    which = torch.tensor([0, 1])
    tokens, log_prob = torch.zeros(2, 4, 8), torch.tensor([[-1.0, -2.0, -4.0], [-0.5, -0.25, -0.125]])
    outcome = Outcome(torch.tensor([-2.0, -4.0]), mask.float(), mask, which, which)
    buffer.add_step(
        tokens, which[:, None], torch.tensor([[1.5], [2.0]]), log_prob if credit == "token" else log_prob[:, 0], outcome
    )
    buffer.compute_returns_and_advantage(torch.empty(0), np.ones(2, dtype=bool))
    return buffer, tokens


def test_each_checked_array_of_a_rollout_has_a_number_a_mask():
    buffer, _ = _kept(credit="token")
    assert (buffer.log_probs.tolist(), buffer.values.tolist()) == ([-7.0, -0.875], [1.5, 2.0])
    assert _kept(credit="joint")[0].log_probs.tolist() == [-1.0, -0.5]
    buffer.reset()
    assert [each.shape for each in (buffer.values, buffer.returns, buffer.log_probs)] == [(0,)] * 3
    assert (buffer.pos, buffer.full) == (0, False)


@pytest.mark.parametrize("batch_size", [None, 2, 5])
def test_a_rollout_that_fits_a_minibatch_is_not_copied(batch_size):
    buffer, tokens = _kept(credit="joint")
    (whole,) = buffer.get(batch_size)
    assert whole.observations is tokens
