"""The classifier and the learning rates of its layers."""

import pytest
import torch

from tats_gym.model.classifier import VideoClassifier, layer_groups
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.videomae import MAEConfig
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=4, size=32, mask_ratio=0.5)


def _classifier(positions="sinusoid", depth=3, pool="mean"):
    config = MAEConfig(embed_dim=24, depth=depth, num_heads=2, pos_embed=positions)
    torch.manual_seed(0)
    return VideoClassifier(VideoEncoder(config, GRID, norm="none"), 7, pool)


def test_logits_are_the_head_of_the_normed_mean_over_tokens():
    model = _classifier()
    clips = torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8)
    mean = model.video(clips).mean(1)
    normed = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(model(clips), normed @ model.head.weight.T)


def test_a_head_on_frames_knows_their_order():
    model = _classifier(pool="frames")
    times, _, _ = GRID.shape
    assert model.head.in_features == times * 24
    clips = torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8)
    means = model.video(clips).unflatten(1, (times, -1)).mean(2)  # (B, t, D)
    torch.testing.assert_close(model(clips), model.head(model.fc_norm(means.flatten(1))))
    head = model.head.weight.unflatten(1, (times, -1))
    swapped = head.flip(1).flatten(1)
    assert not torch.allclose(model(clips), model.fc_norm(means.flatten(1)) @ swapped.T, rtol=1e-3, atol=0)


def test_the_head_starts_near_zero():
    model = _classifier()
    assert model.head.weight.abs().max() <= 2e-5
    assert model.head.weight.std() > 5e-6


@pytest.mark.parametrize("positions", ["sinusoid", "learned"])
def test_every_layer_learns_slower_than_the_one_above_it(positions):
    model = _classifier(positions)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scales, decays = {}, {}
    for group in layer_groups(model, weight_decay=0.05, layer_decay=0.5):
        for parameter in group["params"]:
            scales[names[id(parameter)]] = group["lr_scale"]
            decays[names[id(parameter)]] = group["weight_decay"]
    assert len(scales) == len(names)
    expected = {"patch_embed": 0.5**4, "pos_embed": 0.5**4, "blocks.0": 0.5**3, "blocks.1": 0.5**2, "blocks.2": 0.5}
    for name, scale in scales.items():
        part = next((part for part in expected if part in name), None)
        assert scale == pytest.approx(expected.get(part, 1.0)), name
        assert (decays[name] == 0.0) == (name.endswith("bias") or "norm" in name or "pos_embed" in name), name


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        VideoClassifier(VideoEncoder(MAEConfig(embed_dim=24, num_heads=2), GRID, norm="none"), 1, "mean")
