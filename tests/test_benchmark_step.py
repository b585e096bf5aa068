"""The peers' steps follow their definitions, ours is the real one, and its observations never leave the device."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tats_gym.agents.config import PRESETS
from tats_gym.agents.peers.adamae import AdaMAEPolicy
from tats_gym.agents.trajectory_attention import TrajectoryAttention
from tats_gym.benchmarks.published import PublishedTrajectoryAttention
from tats_gym.benchmarks.step import StepConfig, Work, measured_variants, prepare
from tats_gym.benchmarks.step_ours import JointStep
from tats_gym.benchmarks.step_peers import SAMPLING_COEF, AdaMAEStep, VideoMAEStep, published_target
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.masks import mask_from_ids, random_ids
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.tokens import TokenGrid

ROOT = Path(__file__).parent.parent
GRID = TokenGrid(frames=4, size=48, visible=6)
CONFIG = MAEConfig(embed_dim=32, depth=2, num_heads=4, decoder_embed_dim=16, decoder_depth=2, decoder_num_heads=2)


@pytest.fixture(name="pixels")
def _pixels():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, 3, GRID.frames, GRID.size, GRID.size), dtype=torch.uint8, generator=generator)


def _videos(pixels):
    mean, std = (torch.tensor(each)[:, None, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels / 255 - mean) / std


def _step(peer, pixels, *, fused):
    step = peer(CONFIG, GRID, _videos(pixels), device=torch.device("cpu"), precision="fp32", fused=fused)
    ours = MaskedAutoencoder(CONFIG, GRID)
    step.mae.load_state_dict(ours.state_dict())
    return step, ours


@pytest.mark.parametrize("fused", [False, True])
def test_the_peers_mae_is_ours(pixels, fused):
    step, ours = _step(VideoMAEStep, pixels, fused=fused)
    ids = random_ids(3, GRID.num_tokens, GRID.num_visible).sort(1).values
    videos = _videos(pixels)
    theirs = step.errors(videos, published_target(videos, GRID), mask_from_ids(ids, GRID.num_tokens))
    errors = ours(pixels, ids).errors
    torch.testing.assert_close(theirs, errors, atol=1e-4, rtol=1e-4)
    gradients = [
        torch.autograd.grad(each.mean(), model.parameters()) for each, model in ((theirs, step.mae), (errors, ours))
    ]
    names = [[name for name, _ in model.named_parameters()] for model in (step.mae, ours)]
    theirs, ours = (dict(zip(*each, strict=True)) for each in zip(names, gradients, strict=True))
    assert theirs.keys() == ours.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("fused", [False, True])
def test_the_peers_sampler_and_its_loss_are_as_published(pixels, fused):
    step, _ = _step(AdaMAEStep, pixels, fused=fused)
    step.modules.eval()
    videos = _videos(pixels)
    policy = AdaMAEPolicy(
        TokenBox((GRID.num_tokens, 32), GRID.shape), Subset(GRID.num_tokens, GRID.num_visible), lambda _: 1e-4,
        credit="token", sinusoidal=False,
    ).eval()  # fmt: skip
    policy.load_state_dict(step.sampler.state_dict(), strict=False)
    tokens = step.mae.embed(videos)
    probs = step.sampler(tokens)
    torch.testing.assert_close(policy.score(tokens)[0].token_log_prob, probs.log(), atol=1e-4, rtol=1e-4)

    ids = random_ids(3, GRID.num_tokens, GRID.num_visible)
    target = published_target(videos, GRID)
    loss = step.losses(videos, target, lambda _: ids)
    mask = mask_from_ids(ids, GRID.num_tokens)
    errors = step.mae.reconstruct(tokens, mask)
    errors = (errors - target[mask].unflatten(0, (3, -1))).square().mean(-1)
    hidden = probs.log()[mask].unflatten(0, (3, -1))
    torch.testing.assert_close(loss, errors.mean() - SAMPLING_COEF * (hidden * errors).mean())
    loss.backward()
    gradient = step.sampler.head.weight.grad
    wanted = torch.autograd.grad(-SAMPLING_COEF * (hidden * errors.detach()).mean(), step.sampler.head.weight)[0]
    torch.testing.assert_close(gradient, wanted)


def test_a_peers_step_moves_its_weights(pixels):
    for peer in (VideoMAEStep, AdaMAEStep):
        step, _ = _step(peer, pixels, fused=False)
        before = [parameter.clone() for parameter in step.modules.parameters()]
        first = step()
        assert all(
            not torch.equal(a, b) for a, b in zip(before, step.modules.parameters(), strict=True) if b.grad.any()
        )
        assert min(step() for _ in range(20)) < first


def test_a_run_in_bf16_is_compared_with_the_peers_in_fp32_too():
    bf16, fp32 = (measured_variants(StepConfig(precision=each, device="cpu")) for each in ("bf16", "fp32"))
    assert set(bf16) - set(fp32) == {f"{peer}, as published, in fp32" for peer in ("AdaMAE", "VideoMAE tube")}
    config = StepConfig(preset="demo", batch_size=1, frames=4, size=32, precision="bf16", device="cpu", steps=1)
    for variant, dtype in (("AdaMAE, as published", torch.bfloat16), ("AdaMAE, as published, in fp32", torch.float32)):
        work = Work(variant, config, "")
        step, _ = prepare(work, torch.device("cpu"))
        seen = []
        step.sampler.register_forward_hook(lambda module, args, output, seen=seen: seen.append(args[0].dtype))
        step()
        assert seen == [dtype], variant


def test_the_published_trajectory_attention_agrees_with_our_folded_one():
    folded, published = TrajectoryAttention(24, 3, 4), PublishedTrajectoryAttention(24, 3, 4)
    weights = folded.state_dict()
    keys, values = weights.pop("trajectory_k.weight"), weights.pop("trajectory_v.weight")
    weights["trajectory_kv.weight"] = torch.cat((keys, values))
    weights["trajectory_kv.bias"] = torch.cat((torch.randn(24), weights.pop("trajectory_v.bias")))
    published.load_state_dict(weights)
    x = torch.randn(2, 20, 24)
    torch.testing.assert_close(folded(x), published(x), atol=1e-5, rtol=1e-5)


def _joint(demo_root, **changes):
    preset = PRESETS["demo"]
    changes = {"agent": "tats", **changes}
    config = replace(preset, num_envs=2, grid=GRID, mae=CONFIG, device="cpu", **changes)
    pixels = torch.randint(256, (2, 3, GRID.frames, GRID.size, GRID.size), dtype=torch.uint8)
    return JointStep(config, pixels, str(demo_root))


def test_a_joint_step_trains_both_and_its_parts_are_timed(demo_root):
    step = _joint(demo_root)
    step()
    modules = {"mae": step.vector_env.mae, "sampler": step.agent.policy}
    before = {name: torch.cat([p.flatten() for p in module.parameters()]) for name, module in modules.items()}
    with step.timed() as seconds:
        step()
    for name, module in modules.items():
        assert not torch.equal(torch.cat([p.flatten() for p in module.parameters()]), before[name])
    assert step.optimizer.steps == 2 * step.agent.n_steps
    assert step.clips_per_call == 2 * step.agent.n_steps
    names = [
        "observe",
        "choose",
        "MAE forward",
        "MAE backward and optimiser",
        "of which MAE optimiser",
        "sampler update",
    ]
    assert set(names) <= seconds.keys()
    assert all(value > 0 for value in seconds.values())
    assert seconds["of which MAE optimiser"] < seconds["MAE backward and optimiser"]
    known = dict(seconds)
    step()
    assert seconds == known


@pytest.fixture(name="host")
def _host(monkeypatch):
    """Bytes of every tensor that a step turns into a NumPy array, or the other way, or moves to the host."""
    sizes = []

    def counted(function):
        def call(first, *args, **kwargs):
            sizes.append(first.nbytes)
            return function(first, *args, **kwargs)

        return call

    for owner, name in (
        (torch.Tensor, "numpy"),
        (torch.Tensor, "cpu"),
        (torch.Tensor, "tolist"),
        (torch, "from_numpy"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return sizes


@pytest.mark.parametrize(("agent", "stays"), [("tats", True), ("group", True), ("adamae", True), ("ppo", False)])
def test_observations_stay_on_the_device_in_our_own_loops_alone(demo_root, host, agent, stays):
    changes = {"masks_per_clip": 2} if agent == "group" else {}
    step = _joint(demo_root, agent=agent, **changes)
    step()
    host.clear()
    step()
    observation = step.vector_env.observe()[0].nbytes  # of one clip
    assert (max(host) < observation / 4) == stays
