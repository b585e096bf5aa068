"""The collection of a rollout and the update on it: steps, modes, logs, calls of callbacks, saved state."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import load_from_zip_file

from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.tats import TATS, TatsConfig
from tests.toy import toy_env


class _Watch(BaseCallback):
    """Remembers the outcomes, and stops after some of them."""

    def __init__(self, stop_after=100):
        super().__init__()
        self.outcomes, self.stop_after, self.ended = [], stop_after, 0

    def _on_step(self):
        self.outcomes.append(self.locals["outcome"])
        return len(self.outcomes) < self.stop_after

    def _on_rollout_end(self):
        self.ended += 1


@pytest.fixture(name="env")
def _env(clips_root):
    env = toy_env(clips_root, num_envs=4)
    yield env
    env.close()


def _agent(env, **settings):
    torch.manual_seed(0)
    config = TatsConfig(learning_rate=1e-2, policy_coef=1.0, vf_coef=1.0, **settings)
    return TATS(env=env, config=config, seed=0, device="cpu")


def test_a_callback_ends_the_training_within_a_rollout(env):
    agent, watch = _agent(env, n_steps=3), _Watch(stop_after=2)
    agent.learn(24, callback=watch)
    assert (agent.num_timesteps, watch.ended, agent._n_updates) == (8, 0, 0)


def test_callbacks_see_the_outcome_of_each_step(env):
    agent, watch = _agent(env, n_steps=2, reuse_scores=False), _Watch()
    agent.learn(8, callback=watch)
    assert len(watch.outcomes) == 2
    (kept,) = agent.rollout_buffer.get()
    errors = torch.cat([outcome.errors for outcome in watch.outcomes])
    torch.testing.assert_close(kept.returns, errors.sum(1) / 56)  # mean errors of 64 - 8 hidden tokens


def test_observations_are_not_copied_to_the_host_while_learning(env):
    class Look(_Watch):
        def _on_step(self):
            assert isinstance(self.model._last_obs, torch.Tensor)
            return super()._on_step()

    watch = Look()
    _agent(env).learn(8, callback=watch)
    assert len(watch.outcomes) == 2


def test_steps_are_counted_over_all_processes(clips_root):
    env = toy_env(clips_root, num_envs=4, shard=(1, 3))
    agent, watch = _agent(env), _Watch()
    agent.learn(2 * 3 * 4, callback=watch)
    assert (agent.num_timesteps, len(watch.outcomes)) == (24, 2)
    env.close()


def test_masks_are_drawn_in_evaluation_mode_and_learnt_in_training_mode(env, monkeypatch):
    modes, score = [], TatsPolicy.score
    monkeypatch.setattr(TatsPolicy, "score", lambda self, tokens: modes.append(self.training) or score(self, tokens))
    _agent(env, n_steps=2, reuse_scores=False).learn(16)
    assert modes == [False, False, True] * 2


@pytest.mark.parametrize(("alike", "modes_of_a_rollout"), [(True, [False, False]), (False, [False, False, True])])
def test_scores_serve_the_update_where_training_mode_does_not_change_them(env, monkeypatch, alike, modes_of_a_rollout):
    modes, score = [], TatsPolicy.score
    monkeypatch.setattr(TatsPolicy, "score", lambda self, tokens: modes.append(self.training) or score(self, tokens))
    monkeypatch.setattr(TatsPolicy, "scores_alike_in_training", alike)
    _agent(env, n_steps=2).learn(16)
    assert modes == modes_of_a_rollout * 2


def test_logged_values_are_means_over_minibatches_and_passes(env, monkeypatch):
    agent, losses, loss = _agent(env, n_steps=2, n_epochs=2, batch_size=4), [], TATS.loss
    with torch.no_grad():
        agent.policy.critic_head.weight.normal_()  # values of zero would have no explained variance

    def noted(self, batch, scores):
        found = loss(self, batch, scores)
        losses.append((found[0].item(), found[1]["value_loss"].item()))
        return found

    monkeypatch.setattr(TATS, "loss", noted)
    agent.learn(8)
    logged = agent.logger.name_to_value
    assert len(losses) == 4
    assert (logged["train/loss"], logged["train/value_loss"]) == pytest.approx(tuple(np.mean(losses, axis=0)), rel=1e-5)
    values, returns = agent.rollout_buffer.values, agent.rollout_buffer.returns
    assert len(values) == len(returns) == 8
    assert logged["train/explained_variance"] == pytest.approx(1 - np.var(returns - values) / np.var(returns), rel=1e-4)
    assert logged["train/n_updates"] == 2
    assert agent.logger.name_to_excluded["train/n_updates"] == ("tensorboard",)


def test_no_part_of_a_rollout_is_saved(env, tmp_path):
    class Save(_Watch):
        def _on_step(self):
            assert self.model.outputs
            self.model.save(tmp_path / "agent.zip")
            return True

    agent = _agent(env, n_steps=2)
    agent.learn(8, callback=Save())
    data, _, _ = load_from_zip_file(tmp_path / "agent.zip")
    assert not {"_last_obs", "_last_episode_starts", "outputs"} & data.keys()
    assert data["num_timesteps"] == 8
