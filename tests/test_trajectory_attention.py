"""Folded trajectory attention against the published form, written here from its definition."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tats_gym.agents import trajectory_attention
from tats_gym.agents.trajectory_attention import TrajectoryAttention, TrajectoryBlock


def _unfolded(module, x, asking=None):
    """Trajectory attention as defined: token by token, frame by frame, every trajectory token projected.

    `asking` (B, t * m, D), m tokens of each frame, are asked for; the tokens x (B, t * s, D) themselves if None.
    """
    asking = x if asking is None else asking
    batch, length, width = asking.shape
    heads, frames = module.num_heads, module.num_frames
    space, head_dim, own = x.shape[1] // frames, width // heads, length // frames
    _, k, v = F.linear(x, module.qkv.weight, module.qkv.bias).chunk(3, dim=-1)
    q = F.linear(asking, module.qkv.weight, module.qkv.bias).chunk(3, dim=-1)[0]
    trajectories = torch.zeros(batch, length, frames, width, dtype=x.dtype)
    for frame in range(frames):
        inside = slice(frame * space, (frame + 1) * space)
        for head in range(heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            scores = q[:, :, part] @ k[:, inside, part].transpose(1, 2) / head_dim**0.5
            trajectories[:, :, frame, part] = scores.softmax(-1) @ v[:, inside, part]
    output = torch.zeros(batch, length, width, dtype=x.dtype)
    key_bias = torch.randn(width, dtype=x.dtype)  # any bias on the second keys leaves the result as it is
    for token in range(length):
        along = trajectories[:, token]  # (B, t, D)
        q2 = F.linear(along[:, token // own], module.trajectory_q.weight, module.trajectory_q.bias)
        k2 = F.linear(along, module.trajectory_k.weight, key_bias)
        v2 = F.linear(along, module.trajectory_v.weight, module.trajectory_v.bias)
        for head in range(heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            scores = (k2[:, :, part] @ q2[:, part, None])[..., 0] / head_dim**0.5  # (B, t)
            output[:, token, part] = (scores.softmax(-1)[..., None] * v2[:, :, part]).sum(1)
    return F.linear(output, module.proj.weight, module.proj.bias)


@pytest.mark.parametrize(
    ("width", "heads", "frames", "space"), [(24, 3, 4, 5), (16, 1, 2, 9), (32, 4, 8, 1), (16, 2, 1, 6)]
)
def test_folded_equals_unfolded_in_value_and_gradient(width, heads, frames, space):
    torch.manual_seed(0)
    module = TrajectoryAttention(width, heads, frames)
    x = torch.randn(2, frames * space, width, requires_grad=True)
    weights = torch.randn(2, frames * space, width)
    outputs, gradients = [], []
    for form in (module, lambda x: _unfolded(module, x)):
        output = form(x)
        parameters = [x, *module.parameters()]
        gradients.append(torch.autograd.grad((output * weights).sum(), parameters))
        outputs.append(output)
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    for folded, unfolded in zip(*gradients, strict=True):
        torch.testing.assert_close(folded, unfolded, atol=1e-5 * unfolded.abs().max().item() + 1e-6, rtol=1e-4)


def test_where_frames_ask_by_their_mean_the_rest_is_the_same():
    torch.manual_seed(0)
    module = TrajectoryAttention(24, 3, 4, pool=True)
    x = torch.randn(2, 20, 24, requires_grad=True)
    parameters = [x, *module.parameters()]
    pooled, expected = module(x), _unfolded(module, x, asking=x.reshape(2, 4, 5, 24).mean(2))
    assert pooled.shape == (2, 4, 24)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(each.square().sum(), parameters) for each in (pooled, expected)]
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("stream_above", [0, 8])
def test_streamed_and_split_attention_is_the_same(monkeypatch, stream_above, pool):
    torch.manual_seed(0)
    module = TrajectoryAttention(24, 3, 4, stream_above=8, pool=pool)
    x, norm = torch.randn(2, 20, 24, requires_grad=True), nn.LayerNorm(24)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    parameters = [x, *module.parameters(), *norm.parameters()]
    whole = module(norm(x))
    expected = torch.autograd.grad(whole.square().sum(), parameters)
    monkeypatch.setattr(trajectory_attention, "BLOCK_BYTES", {"cpu": 3 * 24 * 4 * 7})  # seven tokens of forty
    module.streams = stream_above == 0
    torch.testing.assert_close(module(x, norm), whole)
    for found, wanted in zip(torch.autograd.grad(module(x, norm).square().sum(), parameters), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_tokens_without_a_gradient_get_none():
    """Nor does the projection of them that would lead there, a third of the backward pass's products."""
    module, norm = TrajectoryAttention(24, 3, 4), nn.LayerNorm(24)
    x = torch.randn(2, 20, 24)
    with FlopCounterMode(display=False) as detached:
        module(x, norm).sum().backward()
    with FlopCounterMode(display=False) as attached:
        module(x.requires_grad_(), norm).sum().backward()
    assert attached.get_total_flops() - detached.get_total_flops() == 2 * (2 * 20) * 24 * (3 * 24)


@pytest.mark.parametrize("stream_above", [1, 8])
def test_gradients_have_gradients(stream_above):
    """TRPO needs them."""
    torch.manual_seed(0)
    module = TrajectoryAttention(8, 2, 2, stream_above).double()
    x = torch.randn(1, 4, 8, dtype=torch.float64, requires_grad=True)
    weight = module.trajectory_k.weight
    with sdpa_kernel(SDPBackend.MATH):
        torch.autograd.gradcheck(module, (x,))
        torch.autograd.gradgradcheck(
            lambda x, weight: functional_call(module, {"trajectory_k.weight": weight}, x), (x, weight)
        )


def test_memory_grows_with_tokens_and_not_with_their_square():
    """Memory that waits for the backward pass, per token, at two, four and eight times as many frames."""

    def kept(frames):
        module, sizes = TrajectoryAttention(16, 2, frames, stream_above=4), {}
        x = torch.randn(1, 6 * frames, 16)
        with saved_tensors_hooks(
            lambda t: sizes.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t, lambda t: t
        ):
            module(x, nn.LayerNorm(16))
        return sum(sizes.values())

    frames = np.array([8, 16, 32, 64])
    exponent = np.polyfit(np.log(frames), np.log([kept(int(number)) for number in frames]), 1)[0]
    assert 0.8 < exponent < 1.1


def test_tokens_of_a_frame_may_be_permuted_together():
    torch.manual_seed(0)
    module = TrajectoryAttention(16, 2, 3)
    x = torch.randn(1, 12, 16)
    order = torch.tensor([1, 3, 0, 2, 4, 5, 6, 7, 11, 10, 9, 8])  # within each frame of 4
    torch.testing.assert_close(module(x[:, order]), module(x)[:, order], atol=1e-5, rtol=1e-5)


def test_frames_are_kept_apart():
    torch.manual_seed(0)
    module = TrajectoryAttention(16, 2, 3)
    x = torch.randn(1, 12, 16)
    moved = x[:, torch.tensor([4, 1, 2, 3, 0, 5, 6, 7, 8, 9, 10, 11])]  # a token exchanged between two frames
    assert (module(x)[:, 11] - module(moved)[:, 11]).abs().max() > 1e-3


def test_the_block_adds_to_its_input():
    torch.manual_seed(0)
    block = TrajectoryBlock(16, 2, 2, mlp_ratio=2.0)
    for parameter in (*block.attn.proj.parameters(), *block.mlp[2].parameters()):
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 8, 16)
    assert torch.equal(block(x), x)
    block.attn.pool = True
    assert torch.equal(block(x), x.reshape(1, 2, 4, 16).mean(2))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads must divide width, got 5 and 16"):
        TrajectoryAttention(16, 5, 2)
