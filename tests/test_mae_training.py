"""The MAE's optimiser: schedule, accumulation, saved state."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from tats_gym.masks import random_ids
from tats_gym.model.optim import MAEOptimConfig, mae_optimizer
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=4, size=32, visible=2)
TINY = MAEConfig(embed_dim=24, depth=1, num_heads=2, decoder_embed_dim=16, decoder_depth=1, decoder_num_heads=2)


def _optimizer(steps_per_epoch=10, num_envs=4, seed=0, **config):
    torch.manual_seed(seed)
    mae = MaskedAutoencoder(TINY, GRID)
    settings = {"epochs": 5, "warmup_epochs": 1, **config}
    return mae, mae_optimizer(mae, MAEOptimConfig(**settings), num_envs=num_envs, steps_per_epoch=steps_per_epoch)


def _loss(mae, seed=0, count=4):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(0, 256, (count, *GRID.clip_shape), dtype=torch.uint8, generator=generator)
    return mae(clips, random_ids(count, 8, 2, generator=generator)).errors.mean()


def test_the_schedule_by_hand():
    _, optimizer = _optimizer(num_envs=64, base_lr=1.6e-3, min_lr=4e-4)
    peak, floor = 1.6e-3 / 4, 4e-4 / 4  # 64 / 256
    assert optimizer.lr.at(0) == pytest.approx(peak / 10)
    assert optimizer.lr.at(9) == pytest.approx(peak)
    assert optimizer.lr.at(10) == pytest.approx(peak)
    assert optimizer.lr.at(30) == pytest.approx((peak + floor) / 2)
    assert optimizer.lr.at(50) == pytest.approx(floor)
    assert optimizer.lr.at(99) == pytest.approx(floor)
    assert optimizer.lr.at(20) == pytest.approx(floor + (peak - floor) * (1 + math.cos(math.pi / 4)) / 2)


@pytest.mark.parametrize("positions", ["sinusoid", "learned"])
def test_biases_norms_positions_and_the_mask_token_do_not_decay(positions):
    mae = MaskedAutoencoder(replace(TINY, pos_embed=positions), GRID)
    optimizer = mae_optimizer(mae, MAEOptimConfig(epochs=5, warmup_epochs=1), num_envs=4, steps_per_epoch=10)
    decayed = {id(p) for group in optimizer.adamw.param_groups if group["weight_decay"] > 0 for p in group["params"]}
    for name, parameter in mae.named_parameters():
        assert (id(parameter) in decayed) == (
            parameter.ndim > 1 and name != "mask_token" and "pos_embed" not in name
        ), name
    assert sum(len(group["params"]) for group in optimizer.adamw.param_groups) == len(list(mae.parameters()))


def test_accumulating_two_halves_equals_the_whole():
    whole_mae, whole = _optimizer(num_envs=4)
    halves_mae, halves = _optimizer(num_envs=2, steps_per_epoch=20, accumulate=2)
    clips = torch.randint(0, 256, (4, *GRID.clip_shape), dtype=torch.uint8)
    ids = random_ids(4, 8, 2)
    whole.step(whole_mae(clips, ids).errors.mean())
    for part in (slice(0, 2), slice(2, 4)):
        assert halves.steps == 0
        halves.step(halves_mae(clips[part], ids[part]).errors.mean())
    assert whole.steps == halves.steps == 1
    assert whole.lr.highest == halves.lr.highest
    for one, two in zip(whole_mae.parameters(), halves_mae.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=2e-6, rtol=1e-4)


def test_going_on_from_the_state_is_going_on():
    mae, optimizer = _optimizer()
    for seed in range(3):
        optimizer.step(_loss(mae, seed))
    again, other = _optimizer(seed=1)
    again.load_state_dict(mae.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, stepper in ((mae, optimizer), (again, other)):
        stepper.step(_loss(model, 7))
    assert optimizer.steps == other.steps == 4
    assert all(torch.equal(one, two) for one, two in zip(mae.parameters(), again.parameters(), strict=True))


def test_a_run_that_goes_on_has_the_settings_that_are_asked_for_now():
    mae, optimizer = _optimizer()
    optimizer.step(_loss(mae))
    _, other = _optimizer(weight_decay=0.7, betas=(0.5, 0.6))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert {group["weight_decay"] for group in other.adamw.param_groups} == {0.7, 0.0}
    assert {group["betas"] for group in other.adamw.param_groups} == {(0.5, 0.6)}
    assert other.adamw.state_dict()["state"].keys() == optimizer.adamw.state_dict()["state"].keys() != set()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": 20}, r"warmup_epochs must lie in \[0, epochs\), got 40 with epochs 20"),
        ({"base_lr": 0.0}, "base_lr must be positive"),
        ({"accumulate": 0}, "at least 1"),
    ],
)
def test_impossible_recipes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MAEOptimConfig(**settings)
