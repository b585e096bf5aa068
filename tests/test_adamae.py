"""AdaMAE's sampler: its network, and its loss against the definition."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tats_gym.agents.peers.adamae import AdaMAE, AdaMAEConfig, AdaMAEPolicy
from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.model.pos_embed import sinusoid
from tests.toy import toy_env


def _agent(env, **kwargs):
    return AdaMAE(
        env, 1e-2, config=AdaMAEConfig(coef=2e-3), seed=0, device="cpu",
        policy_kwargs={"sinusoidal": False, "optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}, **kwargs,
    )  # fmt: skip


def test_one_update_is_the_published_loss(clips_root, monkeypatch):
    env = toy_env(clips_root, 4)
    agent = _agent(env)
    for module in agent.policy.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    by_hand = copy.deepcopy(agent.policy)
    kept = []
    keep = TokenRolloutBuffer.add_step
    monkeypatch.setattr(TokenRolloutBuffer, "add_step", lambda self, *step: (kept.append(step), keep(self, *step))[1])
    agent.learn(4)
    tokens, *_, outcome = kept[0]

    losses = []
    log_p = by_hand.score(tokens)[0].logits.log_softmax(-1)
    for clip in range(4):
        hidden = outcome.predicted[clip].nonzero()[:, 0]
        losses.append(-(log_p[clip, hidden] * outcome.errors[clip, hidden]).mean())
    (2e-3 * torch.stack(losses).mean()).backward()
    moved = 0.0
    for (name, ours), (_, theirs) in zip(agent.policy.named_parameters(), by_hand.named_parameters(), strict=True):
        step = 1e-2 * theirs.grad
        torch.testing.assert_close(ours, theirs - step, atol=1e-7, rtol=1e-5, msg=name)
        moved = max(moved, step.abs().max().item())
    assert moved > 1e-6
    env.close()


def _policy(**kwargs):
    torch.manual_seed(0)
    return AdaMAEPolicy(TokenBox((36, 64), (4, 3, 3)), Subset(36, 7), lambda _: 1e-3, **kwargs).eval()


def test_the_network_is_the_published_one():
    policy = AdaMAEPolicy(
        TokenBox((1568, 768), (8, 14, 14)), Subset(1568, 78), lambda _: 1e-3, sinusoidal=True, credit="token"
    )
    shapes = {name: tuple(parameter.shape) for name, parameter in policy.named_parameters()}
    assert shapes.pop("pos_embed") == (1, 1568, 768)
    assert shapes.pop("head.weight") == (1, 768)
    assert shapes.pop("head.bias") == (1,)
    assert shapes == {
        "block.norm1.weight": (768,), "block.norm1.bias": (768,),
        "block.attn.qkv.weight": (2304, 768),
        "block.attn.proj.weight": (768, 768), "block.attn.proj.bias": (768,),
        "block.norm2.weight": (768,), "block.norm2.bias": (768,),
        "block.mlp.fc1.weight": (3072, 768), "block.mlp.fc1.bias": (3072,),
        "block.mlp.fc2.weight": (768, 3072), "block.mlp.fc2.bias": (768,),
    }  # fmt: skip
    assert policy.block.attn.num_heads == 8
    assert not policy.pos_embed.any()


def test_dropout_acts_on_the_outputs_of_attention_and_mlp_alone():
    """The published block, written out; one generator drops the same elements in both."""
    policy, tokens = _policy(sinusoidal=False), torch.randn(2, 36, 64)
    block, head = policy.block, policy.head
    policy.train()
    torch.manual_seed(1)
    found = policy.score(tokens)[0].logits
    torch.manual_seed(1)
    normed = F.layer_norm(tokens, (64,), block.norm1.weight, block.norm1.bias)
    q, k, v = (normed @ block.attn.qkv.weight.T).reshape(2, 36, 3, 8, 8).permute(2, 0, 3, 1, 4)  # (B, N, L, e) each
    attended = ((q @ k.transpose(-1, -2) / 8**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
    x = tokens + F.dropout(F.linear(attended, block.attn.proj.weight, block.attn.proj.bias), 0.1)
    normed = F.layer_norm(x, (64,), block.norm2.weight, block.norm2.bias)
    hidden = F.gelu(F.linear(normed, block.mlp.fc1.weight, block.mlp.fc1.bias))
    x = x + F.dropout(F.linear(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias), 0.1)
    torch.testing.assert_close(found, F.linear(x, head.weight, head.bias)[..., 0], atol=1e-5, rtol=1e-5)


def test_the_same_parameters_decay_as_in_the_published_code(clips_root):
    """There: all but biases and parameters of one dimension, and the list of exceptions names none of the sampler's."""
    env = toy_env(clips_root, 4)
    policy = AdaMAE(env, policy_kwargs={"sinusoidal": False}, device="cpu").policy
    names = {parameter: name for name, parameter in policy.named_parameters()}
    decays = {
        names[parameter]: group["weight_decay"]
        for group in policy.optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays == {
        "pos_embed": 0.05, "head.weight": 0.05, "head.bias": 0.0,
        "block.norm1.weight": 0.0, "block.norm1.bias": 0.0,
        "block.attn.qkv.weight": 0.05, "block.attn.proj.weight": 0.05, "block.attn.proj.bias": 0.0,
        "block.norm2.weight": 0.0, "block.norm2.bias": 0.0,
        "block.mlp.fc1.weight": 0.05, "block.mlp.fc1.bias": 0.0,
        "block.mlp.fc2.weight": 0.05, "block.mlp.fc2.bias": 0.0,
    }  # fmt: skip
    env.close()


def test_the_maes_fixed_positions_are_taken_off_again():
    content = torch.randn(2, 36, 64)
    seen = _policy(sinusoidal=True).score(content + sinusoid(36, 64))[0].logits
    torch.testing.assert_close(seen, _policy(sinusoidal=False).score(content)[0].logits, atol=1e-5, rtol=1e-5)


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="8 heads, which must divide embed_dim, got 20"):
        AdaMAEPolicy(TokenBox((36, 20), (4, 3, 3)), Subset(36, 7), lambda _: 1e-3, sinusoidal=False)


@pytest.mark.parametrize("settings", [{"num_heads": 0}, {"dropout": 1.0}, {"coef": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name} must .*, got {value}"):
        AdaMAEConfig(**settings)
