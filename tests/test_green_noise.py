"""Masks of green noise: its correlations and its spectrum, by closed forms, and the tokens that are shown."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from tats_gym.agents.peers.green_noise import Green3DConfig, Green3DPolicy, green_noise
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.masks import mask_from_ids
from tats_gym.tokens import TokenGrid


def _noise(shape, count, config=None, seed=0):
    return green_noise(shape, count, torch.Generator().manual_seed(seed), config or Green3DConfig()).numpy()


def _covariance(lag, narrow, wide):
    """Of white noise, blurred by each of two Gaussians in continuous space, at two points of the difference."""

    def blurred(variance):
        return math.exp(-sum(step**2 for step in lag) / (2 * variance)) / (2 * math.pi * variance) ** 1.5

    return blurred(2 * narrow**2) - 2 * blurred(narrow**2 + wide**2) + blurred(2 * wide**2)


@pytest.mark.parametrize(("narrow", "wide"), [(1.0, 2.0), (1.0, 1.5)])
def test_covariances_are_those_of_the_difference_of_two_gaussian_blurs(narrow, wide):
    noise = _noise((8, 12, 12), 600, Green3DConfig(narrow=narrow, wide=wide))
    variance = _covariance((0, 0, 0), narrow, wide)
    for lag in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (2, 0, 0), (0, 3, 0), (0, 0, 4), (1, 1, 1)]:
        one = noise[:, lag[0] :, lag[1] :, lag[2] :]
        other = noise[:, : 8 - lag[0], : 12 - lag[1], : 12 - lag[2]]
        assert (one * other).mean() == pytest.approx(_covariance(lag, narrow, wide), abs=0.04 * variance), lag


def test_opposite_borders_are_as_far_apart_as_they_look():
    noise = _noise((8, 12, 12), 4000)
    variance = _covariance((0, 0, 0), 1.0, 2.0)
    for axis, length in ((1, 8), (2, 12), (3, 12)):
        first, last = noise.take(0, axis), noise.take(length - 1, axis)
        lag = [(length - 1) * (axis == each) for each in (1, 2, 3)]
        assert (first * last).mean() == pytest.approx(_covariance(lag, 1.0, 2.0), abs=0.03 * variance)


def test_the_spectrum_is_highest_at_the_middle_of_the_band():
    noise = _noise((32, 32, 32), 16)
    power = (np.abs(np.fft.fftn(noise, axes=(1, 2, 3))) ** 2).mean(0).ravel()
    axis = np.fft.fftfreq(32)
    frequency = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis, indexing="ij"))).ravel()
    band = (frequency / 0.02).astype(int)
    by_band = np.bincount(band, power) / np.bincount(band)
    peak = math.sqrt(math.log(4) / (6 * math.pi**2))  # where exp(-2 (pi f)^2) - exp(-8 (pi f)^2) has slope zero: .153
    assert abs((by_band.argmax() + 0.5) * 0.02 - peak) < 0.02
    assert by_band[band[np.abs(frequency - 0.03).argmin()]] < 0.2 * by_band.max()
    assert by_band[band[np.abs(frequency - 0.4).argmin()]] < 0.05 * by_band.max()


def _policy(grid, **kwargs):
    length = grid.num_tokens
    return Green3DPolicy(TokenBox((length, 8), grid.shape), Subset(length, grid.num_visible), **kwargs)


def test_the_highest_values_are_shown():
    grid, config = TokenGrid(frames=8, size=80, visible=7), Green3DConfig(narrow=0.5, wide=1.0)  # 4 x 5 x 5
    ids = _policy(grid, config=config).rule(grid.shape, grid.num_visible, 50, torch.Generator().manual_seed(3))
    highest = np.argsort(-_noise((4, 5, 5), 50, config, seed=3).reshape(50, -1), axis=1)[:, :7]
    assert [set(row) for row in ids.tolist()] == [set(row) for row in highest.tolist()]


def test_shown_tokens_lie_together_in_space_and_time_and_everywhere_alike():
    grid = TokenGrid()
    shown = ~mask_from_ids(
        _policy(grid).rule(grid.shape, grid.num_visible, 600, torch.Generator().manual_seed(0)), grid.num_tokens
    )
    cube = shown.view(-1, *grid.shape).float()
    chance = 78 / 1568
    correlation = _covariance((1, 0, 0), 1.0, 2.0) / _covariance((0, 0, 0), 1.0, 2.0)
    both_low = multivariate_normal(cov=[[1, correlation], [correlation, 1]]).cdf([norm.ppf(chance)] * 2)
    for axis, length in ((1, 8), (2, 14), (3, 14)):
        both = (cube.narrow(axis, 1, length - 1) * cube.narrow(axis, 0, length - 1)).mean()
        assert both.item() == pytest.approx(both_low, rel=0.05)  # chance ** 2 is an eighth of it
    for region in (cube[:, 0], cube[:, 4], cube[:, :, 0], cube[:, :, 7], cube[..., 0], cube[..., 7]):
        torch.testing.assert_close(region.mean(), torch.tensor(chance), atol=0.006, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"narrow": 2.0}, "narrow must be below wide, got 2.0 and 2.0"),
        ({"narrow": -1.0}, "narrow must not be negative, got -1.0"),
        ({"wide": 0.0}, "wide must be positive, got 0.0"),
    ],
)
def test_bands_that_hold_no_frequency_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Green3DConfig(**settings)
