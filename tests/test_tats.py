"""TATS's loss by hand, and its settings where none are given."""

import math
from inspect import signature

import pytest
import torch
from stable_baselines3 import PPO

from tats_gym.agents.policy import SamplerConfig, TatsPolicy
from tats_gym.agents.rollout_buffer import MaskBatch
from tats_gym.agents.tats import TATS, TatsConfig
from tests.toy import toy_env

RATIOS = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.0])
OLD = torch.tensor([-1.0, -2.0, -3.0, 0.0, -0.5])
BATCH = MaskBatch(
    observations=torch.zeros(5, 4, 2),
    actions=torch.zeros(5, 1),
    old_values=torch.zeros(5),
    old_log_prob=OLD,
    advantages=torch.tensor([1.0, -1.0, 2.0, -2.0, 3.0]),
    returns=torch.tensor([0.0, 2.0, 3.0, 1.0, 0.0]),
    predicted=torch.ones(5, dtype=torch.bool),
    has_return=torch.ones(5, dtype=torch.bool),
)
EVALUATED = (
    torch.tensor([[1.0], [2.0], [0.0], [-1.0], [2.0]]),
    OLD + RATIOS.log(),
    torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0]),
)
"""Values, log-probabilities and entropies under the current weights."""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"n_epochs": 0}, "n_epochs must be at least 1, got 0"),
        ({"warmup_epochs": -1}, "warmup_epochs must not be negative, got -1"),
        ({"policy_coef": -0.1}, "policy_coef must not be negative, got -0.1"),
        ({"vf_coef": -0.1}, "vf_coef must not be negative, got -0.1"),
        ({"ent_coef": -0.1}, "ent_coef must not be negative, got -0.1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"baseline": "group"}, "baseline must be one of value, none; got 'group'"),
        ({"far_weight": -0.1}, r"far_weight must lie in \[0, 1\], got -0.1"),
        ({"far_weight": 1.1}, r"far_weight must lie in \[0, 1\], got 1.1"),
        ({"clip_range": 0.0}, "clip_range must be positive, got 0.0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"ent_coef": math.nan}, "ent_coef must be finite, got nan"),
    ],
)
def test_settings_that_cannot_train_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TatsConfig(**settings)


def test_settings_at_their_limits_are_accepted():
    lowest = {"n_steps": 1, "n_epochs": 1, "warmup_epochs": 0, "batch_size": 1, "baseline": "none"}
    lowest |= {"policy_coef": 0.0, "vf_coef": 0.0, "ent_coef": 0.0, "clip_range": 1e-3, "learning_rate": 1e-9}
    assert all(getattr(TatsConfig(**lowest), name) == value for name, value in lowest.items())
    assert TatsConfig(far_weight=1.0).far_weight == 1


@pytest.fixture(name="env")
def _env(clips_root):
    env = toy_env(clips_root, num_envs=4)
    yield env
    env.close()


def _loss(env, clip_range, batch, judged, ent_coef=5.0):
    config = TatsConfig(policy_coef=2.0, vf_coef=3.0, ent_coef=ent_coef, clip_range=clip_range)
    agent = TATS(env=env, config=config, device="cpu")
    agent._current_progress_remaining = 1.0
    agent.policy.evaluate_output = lambda output, actions: judged
    loss, terms = agent.loss(batch, None)
    return loss.item(), {name: value.item() for name, value in terms.items()}


def test_the_loss_by_hand(env):
    loss, terms = _loss(env, 0.25, BATCH, EVALUATED)
    # min(r A, clip(r) A) is 1.25, -1.5, 1, -1.5, 3; (V - return)^2 is 1, 0, 9, 4, 4; entropies have the mean 2.
    # r - 1 - ln r is .094535 at 1.5, .193147 at .5 and 0 at 1.
    expected = {"policy_gradient_loss": -0.45, "value_loss": 3.6, "entropy_loss": -2.0}
    expected |= {"clip_fraction": 4 / 5, "approx_kl": 2 * (0.094535 + 0.193147) / 5}
    expected["inverse_temperature"] = 2 / 5 * 3.44**0.5  # advantages have the mean .6, their squares 3.8
    assert terms == pytest.approx(expected, rel=1e-5)
    assert loss == pytest.approx(2 * -0.45 + 3 * 3.6 + 5 * -2.0, rel=1e-4)


def test_the_inverse_temperature_is_logged_where_the_entropy_counts(env):
    assert "inverse_temperature" not in _loss(env, 0.25, BATCH, EVALUATED, ent_coef=0.0)[1]
    _, terms = _loss(env, 0.25, BATCH, EVALUATED, ent_coef=0.5)
    assert terms["inverse_temperature"] == pytest.approx(2 / 0.5 * 3.44**0.5, rel=1e-5)


def test_hidden_tokens_without_an_error_have_no_part_in_the_loss(env):
    """Credit "token" at a decode ratio of a half, one number after another."""
    old, new, advantages = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0))
    predicted = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 1, 0, 1, 0, 1]]).bool()
    advantages[~predicted] = 1e3  # meaningless
    returns = {"returns": torch.zeros(2), "has_return": torch.ones(2, dtype=torch.bool)}
    batch = BATCH._replace(old_log_prob=old, advantages=advantages, predicted=predicted, **returns)
    loss, terms = _loss(env, 0.25, batch, (torch.zeros(2, 1), new, torch.zeros(2)))
    total = 0.0
    for row, column in predicted.nonzero().tolist():
        ratio, advantage = math.exp(new[row, column] - old[row, column]), advantages[row, column].item()
        total += min(ratio * advantage, min(max(ratio, 0.75), 1.25) * advantage)
    assert terms["policy_gradient_loss"] == pytest.approx(-total / 6, rel=1e-5)
    assert loss == pytest.approx(2 * -total / 6, rel=1e-5)


def test_tokens_without_an_error_have_no_part_in_the_value_loss(env):
    has_return = torch.tensor([[True, False, True], [False, True, False]])
    returns = torch.tensor([[1.0, 1e3, 3.0], [1e3, 5.0, 1e3]])
    batch = BATCH._replace(
        old_log_prob=OLD[:2], advantages=OLD[:2], predicted=has_return[:, 0], returns=returns, has_return=has_return
    )
    values = torch.tensor([[2.0, 0.0, 5.0], [0.0, 2.0, 0.0]])
    _, terms = _loss(env, 0.2, batch, (values, OLD[:2], torch.zeros(2)))
    assert terms["value_loss"] == pytest.approx((1 + 4 + 9) / 3)


def test_a_ratio_at_the_limit_is_not_clipped(env):
    new = OLD + torch.tensor([0.5, 0.75, 0.5, 0.0, 0.0])
    limit = ((new - OLD).exp() - 1)[0].item()  # the second alone lies beyond
    assert _loss(env, limit, BATCH, (EVALUATED[0], new, EVALUATED[2]))[1]["clip_fraction"] == pytest.approx(1 / 5)


def test_settings_that_are_left_out_are_the_papers(env):
    """Table 1's rate, betas and m_o, Table 3's coefficients; the decay is AdaMAE's; one pass over the whole rollout."""
    clip_range = signature(PPO).parameters["clip_range"].default
    assert (TatsConfig().warmup_epochs, TatsConfig().clip_range) == (10, clip_range)
    agent = TATS(env=env, config=TatsConfig(n_steps=3), device="cpu")
    assert isinstance(agent.policy.optimizer, torch.optim.AdamW)
    groups = agent.policy.optimizer.param_groups
    assert {(group["lr"], group["betas"]) for group in groups} == {(1.5e-6, (0.9, 0.95))}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}  # biases do not decay
    assert (agent.policy_coef, agent.vf_coef, agent.ent_coef) == (1e-4, 1e-4, 1e-4)
    assert (agent.n_epochs, agent.batch_size) == (1, 12)
    assert (agent.warmup_timesteps, agent.reuse_scores) == (0, True)
    assert (agent.policy.credit, agent.policy.masks_per_clip) == ("token", 1)
    buffer = agent.rollout_buffer
    assert (buffer.credit, buffer.baseline, buffer.masks_per_clip) == ("token", "value", 1)
    assert not buffer.normalize_advantage
    assert (buffer.buffer_size, TATS(env=env, device="cpu").rollout_buffer.buffer_size) == (3, 1)


def test_the_buffer_credits_as_the_settings_say(env):
    config = TatsConfig(credit="marginal", reach="token", far_weight=0.25, normalize_advantage=True, baseline="none")
    sampler = SamplerConfig(critic="separate")
    buffer = TATS(env=env, config=config, policy_kwargs={"sampler": sampler}, device="cpu").rollout_buffer
    assert (buffer.credit, buffer.baseline, buffer.normalize_advantage) == ("marginal", "none", True)
    torch.testing.assert_close(buffer.weights, 0.25 + 0.75 * torch.eye(64))
    config = TatsConfig(credit="marginal")
    buffer = TATS(env=env, config=config, policy_kwargs={"sampler": sampler}, device="cpu").rollout_buffer
    place = torch.arange(64) % 16  # of four tubelets of 4 x 4 tokens
    assert torch.equal(buffer.weights, (place == place[:, None]).float())


@pytest.mark.parametrize("name", ["clip_range_vf", "target_kl"])
def test_parts_of_ppo_that_the_loss_lacks_are_refused(env, name):
    with pytest.raises(ValueError, match=f"{name} is not part of this loss, got 0.1"):
        TATS(env=env, **{name: 0.1})


def test_minibatches_may_hold_whole_clips(clips_root, tmp_path):
    env = toy_env(clips_root, num_envs=4, masks_per_clip=2)
    agent = TATS(env=env, config=TatsConfig(batch_size=2), baseline="group", masks_per_clip=2, device="cpu")
    assert agent.rollout_buffer.masks_per_clip == agent.policy.masks_per_clip == 2
    assert agent.rollout_buffer.baseline == "group"
    agent.save(tmp_path / "agent.zip")
    assert TATS.load(tmp_path / "agent.zip", device="cpu").batch_size == 2  # without an environment
    env.close()


def test_learning_without_an_environment_is_told_how_to_give_it_one(env):
    agent = TATS(TatsPolicy, env, device="cpu")
    agent.env = None
    with pytest.raises(ValueError, match="learn needs a TokenSelectionVecEnv, got None; give it one with set_env"):
        agent.learn(2)
