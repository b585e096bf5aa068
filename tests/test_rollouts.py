"""TATS's credit and objective, against a step written by hand."""

import copy

import numpy as np
import pytest
import torch

from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.agents.tats import TATS, TatsConfig
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.train.nonfinite import NonFiniteError
from tests.layouts import SMALL

C1, C2, C3 = 2e-3, 3e-3, 5e-3


@pytest.fixture(name="env")
def _env(clips_root, request):
    settings = SMALL | getattr(request, "param", {})
    vector_env = TokenSelectionVectorEnv(3, data="folder", root=str(clips_root), **settings)
    yield TokenSelectionVecEnv(vector_env)
    vector_env.close()


def _tats(env, masks_per_clip=1, warmup_timesteps=0, **settings):
    torch.manual_seed(0)
    agent = TATS(
        "TatsPolicy", env,
        TatsConfig(learning_rate=1e-2, policy_coef=C1, vf_coef=C2, ent_coef=C3, **settings),
        masks_per_clip=masks_per_clip, warmup_timesteps=warmup_timesteps, seed=0, device="cpu",
        policy_kwargs={"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}},
    )  # fmt: skip
    with torch.no_grad():  # away from uniform, so that every term has a gradient
        agent.policy.actor_head.weight.normal_()
        agent.policy.critic_head.weight.normal_()
    return agent


def _hand_written_step(policy, rollout, n_epochs, clip_range, lr):
    """PPO per token: clipped ratio of every predicted token, squared value error, entropy of the plain categorical."""
    tokens, outcome = rollout
    old = None
    for _ in range(n_epochs):
        distribution, values = policy.score(tokens)
        log_p = distribution.logits.log_softmax(-1)
        value = values[:, 0]
        if old is None:
            old, baseline = log_p.detach(), value.detach()
        losses = []
        for b in range(len(tokens)):
            hidden = outcome.predicted[b].nonzero()[:, 0]
            ratio = (log_p[b, hidden] - old[b, hidden]).exp()
            advantage = outcome.errors[b, hidden] - baseline[b]
            policy_term = torch.minimum(
                ratio * advantage, ratio.clamp(1 - clip_range, 1 + clip_range) * advantage
            ).mean()
            value_term = (value[b] - outcome.errors[b, hidden].mean()) ** 2
            entropy = -(log_p[b].exp() * log_p[b]).sum()
            losses.append(-C1 * policy_term + C2 * value_term - C3 * entropy)
        policy.zero_grad()
        torch.stack(losses).mean().backward()
        with torch.no_grad():
            for parameter in policy.parameters():
                if parameter.grad is not None:
                    parameter -= lr * parameter.grad


@pytest.mark.parametrize("env", [{}, {"decode_ratio": 0.4}, {"visible_spread": 0.4}], indirect=True)
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_one_update_is_the_hand_written_one(env, n_epochs, monkeypatch):
    agent = _tats(env, n_epochs=n_epochs, clip_range=0.1)
    by_hand = copy.deepcopy(agent.policy)
    kept = []
    keep = TokenRolloutBuffer.add_step
    monkeypatch.setattr(
        TokenRolloutBuffer,
        "add_step",
        lambda self, tokens, ids, values, log_prob, outcome: (
            kept.append((tokens, outcome)),
            keep(self, tokens, ids, values, log_prob, outcome),
        ),
    )
    before = copy.deepcopy(agent.policy.state_dict())
    agent.learn(3)
    _hand_written_step(by_hand, kept[0], n_epochs, 0.1, 1e-2)
    moved = 0.0
    for (name, ours), (_, theirs) in zip(agent.policy.named_parameters(), by_hand.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-7, rtol=1e-5, msg=name)
        moved = max(moved, (ours - before[name]).abs().max().item())
    assert moved > 1e-5


def test_logged_ratios_are_of_hidden_tokens(env, monkeypatch):
    """Of five hidden tokens two have half of their probability, three kept it; visible ones gained and do not count."""
    agent = _tats(env, clip_range=0.2)
    agent.learn(3)
    ids = torch.tensor([[7, 4, 2]] * 3)  # hidden: 0, 1, 3, 5, 6
    old, new = torch.full((8,), 1 / 8), torch.full((8,), 1 / 6)
    new[[0, 1, 5]], new[[3, 6]] = 1 / 8, 1 / 16
    probabilities = iter((old, new))

    def score(self, tokens):
        logits = next(probabilities).log().expand(3, -1) + 0 * self.actor_head.bias
        return PlackettLuce(logits, 3), torch.zeros(3, 1)

    monkeypatch.setattr(TatsPolicy, "score", score)
    tokens = torch.zeros(3, 8, 8)
    values, log_prob, _ = agent.policy.evaluate_actions(tokens, ids)
    mask = torch.ones(3, 8, dtype=torch.bool).scatter_(1, ids, False)
    outcome = Outcome(torch.zeros(3), mask.float(), mask, torch.arange(3), torch.arange(3))
    agent.rollout_buffer.reset()
    agent.rollout_buffer.add_step(tokens, ids, values, log_prob.detach(), outcome)
    agent.rollout_buffer.compute_returns_and_advantage(torch.empty(0), np.ones(3, dtype=bool))
    agent.train()
    assert agent.logger.name_to_value["train/clip_fraction"] == pytest.approx(2 / 5)
    # r - 1 - ln r is 0 at 1, and ln 2 - 1/2 at 1/2
    assert agent.logger.name_to_value["train/approx_kl"] == pytest.approx(2 / 5 * (np.log(2) - 1 / 2), rel=1e-5)


@pytest.mark.parametrize("credit", ["token", "position", "joint"])
def test_every_credit_trains_with_minibatches_and_epochs(env, credit):
    agent = _tats(env, credit=credit, n_steps=2, n_epochs=2, batch_size=3)
    before = copy.deepcopy(agent.policy.state_dict())
    agent.learn(12)
    assert agent.num_timesteps == 12
    assert agent._n_updates == 4
    assert any(not torch.equal(before[name], value) for name, value in agent.policy.state_dict().items())


def test_the_warm_up_uses_uniform_masks_and_makes_no_update(env, monkeypatch):
    agent = _tats(env, warmup_timesteps=6)
    before = copy.deepcopy(agent.policy.state_dict())
    monkeypatch.setattr(TatsPolicy, "forward", lambda *_: pytest.fail("the sampler was asked during warm-up"))
    agent.learn(6)
    assert agent.num_timesteps == 6
    assert all(torch.equal(before[name], value) for name, value in agent.policy.state_dict().items())
    monkeypatch.undo()
    agent.learn(3, reset_num_timesteps=False)
    assert agent._n_updates == 1


def test_a_sampler_that_is_not_finite_stops_the_training(env):
    agent = _tats(env)
    with torch.no_grad():
        agent.policy.actor_head.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="the sampler's entropy_loss is nan at timestep 3"):
        agent.learn(6)


def test_the_environment_speaks_numpy_before_and_after_learning(env):
    agent = _tats(env)
    agent.learn(3)
    observations = env.reset()
    assert isinstance(observations, np.ndarray)
    assert env.vector_env.action_space.contains(agent.predict(observations)[0])


def test_tats_needs_its_own_kind_of_environment():
    with pytest.raises(TypeError, match="needs a TokenSelectionVecEnv"):
        TATS("TatsPolicy", "CartPole-v1")


def test_saving_leaves_the_observation_out_and_loading_goes_on(env, tmp_path):
    agent = _tats(env)
    agent.learn(3)
    agent.save(tmp_path / "agent.zip")
    again = _tats(env)
    again.set_parameters(tmp_path / "agent.zip")
    for ours, theirs in zip(agent.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert TATS.load(tmp_path / "agent.zip").predict(np.zeros((8, 128), dtype=np.float32))[0].shape == (3,)
    loaded = TATS.load(tmp_path / "agent.zip", env=env)
    assert loaded._last_obs is None
    assert loaded.policy.credit == "token"


def test_policy_and_environment_must_agree_on_the_masks_of_a_clip(env):
    with pytest.raises(ValueError, match="the policy draws 2 masks a clip, the environment holds each clip 1 times"):
        _tats(env, masks_per_clip=2)


def test_minibatches_do_not_part_the_masks_of_a_clip(env):
    with pytest.raises(ValueError, match="must be a multiple of masks_per_clip, got 6 and 4"):
        _tats(env, masks_per_clip=4, batch_size=6)
