"""TATS's loss by hand, and its settings where none are given."""

from types import SimpleNamespace

import pytest
import torch

from tats_gym.agents.tats import TATS
from tests.toy import toy_env

RATIOS = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.0])
OLD = torch.tensor([-1.0, -2.0, -3.0, 0.0, -0.5])
BATCH = SimpleNamespace(
    actions=torch.zeros(5, 1),
    old_log_prob=OLD,
    advantages=torch.tensor([1.0, -1.0, 2.0, -2.0, 3.0]),
    returns=torch.tensor([0.0, 2.0, 3.0, 1.0, 0.0]),
    predicted=torch.ones(5),
)


@pytest.fixture(name="env")
def _env(clips_root):
    env = toy_env(clips_root, num_envs=4)
    yield env
    env.close()


def _loss(env, clip_range):
    agent = TATS(env=env, policy_coef=2.0, vf_coef=3.0, ent_coef=5.0, clip_range=clip_range, device="cpu")
    agent._current_progress_remaining = 1.0
    values = torch.tensor([[1.0], [2.0], [0.0], [-1.0], [2.0]])
    judged = values, OLD + RATIOS.log(), torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0])
    agent.policy.evaluate_scores = lambda scores, actions: judged
    loss, terms = agent.loss(BATCH, None)
    return loss.item(), {name: value.item() for name, value in terms.items()}


def test_the_loss_by_hand(env):
    loss, terms = _loss(env, 0.25)
    # min(r A, clip(r) A) is 1.25, -1.5, 1, -1.5, 3; (V - return)^2 is 1, 0, 9, 4, 4; entropies have the mean 2.
    # r - 1 - ln r is .094535 at 1.5, .193147 at .5 and 0 at 1.
    expected = {"policy_gradient_loss": -0.45, "value_loss": 3.6, "entropy_loss": -2.0}
    expected |= {"clip_fraction": 4 / 5, "approx_kl": 2 * (0.094535 + 0.193147) / 5}
    assert terms == pytest.approx(expected, rel=1e-5)
    assert loss == pytest.approx(2 * -0.45 + 3 * 3.6 + 5 * -2.0, rel=1e-4)


def test_a_ratio_at_the_limit_is_not_clipped(env):
    assert _loss(env, 0.0)[1]["clip_fraction"] == pytest.approx(4 / 5)


def test_settings_that_are_left_out_are_the_papers(env):
    """Table 1's rate and betas, Table 3's coefficients; the decay is AdaMAE's; one pass over the whole rollout."""
    agent = TATS(env=env, n_steps=3, device="cpu")
    assert isinstance(agent.policy.optimizer, torch.optim.AdamW)
    groups = agent.policy.optimizer.param_groups
    assert {(group["lr"], group["betas"]) for group in groups} == {(1.5e-6, (0.9, 0.95))}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}  # biases do not decay
    assert (agent.policy_coef, agent.vf_coef, agent.ent_coef) == (1e-4, 1e-4, 1e-4)
    assert (agent.n_epochs, agent.batch_size) == (1, 12)
    assert (agent.warmup_timesteps, agent.reuse_scores) == (0, True)
    assert (agent.policy.credit, agent.policy.masks_per_clip) == ("token", 1)
    buffer = agent.rollout_buffer
    assert (buffer.per_token, buffer.baseline, buffer.masks_per_clip) == (True, "value", 1)
    assert (buffer.buffer_size, TATS(env=env, device="cpu").rollout_buffer.buffer_size) == (3, 1)


@pytest.mark.parametrize("name", ["clip_range_vf", "target_kl"])
def test_parts_of_ppo_that_the_loss_lacks_are_refused(env, name):
    with pytest.raises(ValueError, match=f"{name} is not part of this loss, got 0.1"):
        TATS(env=env, **{name: 0.1})


def test_minibatches_may_hold_whole_clips(clips_root, tmp_path):
    env = toy_env(clips_root, num_envs=4, masks_per_clip=2)
    agent = TATS(env=env, masks_per_clip=2, batch_size=2, device="cpu")
    assert agent.rollout_buffer.masks_per_clip == agent.policy.masks_per_clip == 2
    agent.save(tmp_path / "agent.zip")
    assert TATS.load(tmp_path / "agent.zip", device="cpu").batch_size == 2  # without an environment
    env.close()
