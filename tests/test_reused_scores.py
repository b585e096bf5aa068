"""The scores that draw the masks are computed once, without any other change."""

import pytest
import torch

from tats_gym.agents.peers.adamae import AdaMAE
from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.tats import TATS, TatsConfig
from tests.toy import toy_env

SIZES = {"learning_rate": 1e-2, "policy_coef": 1.0, "vf_coef": 1.0, "ent_coef": 1e-3}


@pytest.fixture(name="calls")
def _calls(monkeypatch):
    counted, score = [], TatsPolicy.score
    monkeypatch.setattr(TatsPolicy, "score", lambda self, tokens: counted.append(len(tokens)) or score(self, tokens))
    return counted


def _trained(clips_root, *, reuse_scores, masks_per_clip=1, baseline="value", **changes):
    env = toy_env(clips_root, num_envs=4, masks_per_clip=masks_per_clip)
    sgd = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}  # Adam makes a step of any rounding of zero
    agent = TATS(
        env=env, config=TatsConfig(reuse_scores=reuse_scores, **SIZES, **changes), baseline=baseline,
        masks_per_clip=masks_per_clip, policy_kwargs=sgd, seed=0, device="cpu",
    )  # fmt: skip
    agent.learn(3 * 4 * agent.n_steps)
    env.close()
    return torch.cat([parameter.flatten() for parameter in agent.policy.parameters()])


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"credit": "token"}, (1, 2)),
        ({"credit": "joint", "n_steps": 2}, (2, 3)),
        ({"credit": "position", "n_epochs": 2}, (2, 3)),
        ({"credit": "position", "n_steps": 3, "n_epochs": 2, "masks_per_clip": 2, "baseline": "group"}, (4, 5)),
    ],
)
def test_weights_are_the_same_for_a_pass_less(clips_root, calls, changes, passes):
    with_reuse = _trained(clips_root, reuse_scores=True, **changes)
    assert len(calls) == 3 * passes[0]
    calls.clear()
    without = _trained(clips_root, reuse_scores=False, **changes)
    if "n_steps" not in changes:
        assert torch.equal(with_reuse, without)
    torch.testing.assert_close(with_reuse, without, atol=1e-6, rtol=0)  # other batches add in another order
    assert len(calls) == 3 * passes[1]


def test_minibatches_are_scored_each_by_itself(clips_root, calls):
    _trained(clips_root, reuse_scores=True, batch_size=2)
    assert calls == 3 * [4, 2, 2]


def test_a_sampler_with_dropout_is_scored_again(clips_root):
    env = toy_env(clips_root, num_envs=4)
    agent = AdaMAE(env, policy_kwargs={"sinusoidal": False}, device="cpu")
    agent.learn(4)
    assert agent.outputs is None
    assert not agent.policy.scores_alike_in_training
    env.close()
