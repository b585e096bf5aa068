"""Decoders of numbers from features: against closed forms by NumPy, torch's attention, and planted features."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tats_gym.probe import AttentiveDecoderConfig, RidgeConfig, fit_attentive_decoder, fit_ridge
from tats_gym.probe.attentive_decoder import CrossAttention
from tats_gym.probe.logistic import held_out_videos
from tats_gym.probe.scoring import r_squared


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _primal(x, y, l2):
    """Weights of the ridge by its normal equations over features."""
    return np.linalg.solve(x.T @ x + len(x) * l2 * np.eye(x.shape[1]), x.T @ y)


@pytest.mark.parametrize("width", [6, 90])
def test_ridge_is_the_closed_form_with_the_best_strength_for_each_target(width):
    values = torch.randn(40, width, generator=_generator()) * torch.linspace(0.1, 5, width)
    noise = torch.randn(40, 3, generator=_generator(1))
    targets = values[:, :3] * 4 + noise * torch.tensor([0.1, 20.0, 2000.0]) + 7
    clips = torch.arange(40) // 4
    strengths = (1e-3, 0.33, 0.77, 100.0)  # of whose digits few fit into a float32
    model = fit_ridge(values, targets, clips, RidgeConfig(strengths=strengths), seed=3)

    held = held_out_videos(torch.zeros(40, dtype=torch.int64), clips, 0.2, seed=3).numpy()
    assert held.sum() == 8
    x, y = (each.double().numpy() for each in (values, targets))
    x = (x - x.mean(0)) / x.std(0)
    bias = y[~held].mean(0)
    errors = [((x[held] @ _primal(x[~held], y[~held] - bias, l2) + bias - y[held]) ** 2).mean(0) for l2 in strengths]
    best = np.array(strengths)[np.argmin(errors, axis=0)]
    assert len(set(best)) > 1
    np.testing.assert_array_equal(model.l2, best)
    expected = [x @ _primal(x, y[:, i] - y[:, i].mean(), l2) + y[:, i].mean() for i, l2 in enumerate(best)]
    np.testing.assert_allclose(model.predict(values), np.stack(expected, axis=1), rtol=0, atol=1e-9)


def test_ridges_candidates_are_the_powers_of_ten_up_to_a_thousand():
    assert RidgeConfig().strengths == pytest.approx(np.logspace(-4, 3, 8))


def test_the_held_out_part_is_that_of_seed_0_where_none_is_given():
    values, targets = torch.randn(30, 5, generator=_generator()), torch.randn(30, 40, generator=_generator(1))
    chosen = [fit_ridge(values, targets, torch.arange(30), RidgeConfig(), **each).l2 for each in ({}, {"seed": 0})]
    assert torch.equal(*chosen)
    assert not torch.equal(chosen[0], fit_ridge(values, targets, torch.arange(30), RidgeConfig(), seed=1).l2)


def test_ridge_without_strength_is_least_squares():
    values = torch.randn(50, 4, generator=_generator()) + 3
    targets = torch.randn(50, 2, generator=_generator(1))
    model = fit_ridge(values, targets, torch.arange(50), RidgeConfig(strengths=(1e-7,)))
    design = np.concatenate((values, np.ones((50, 1))), axis=1)
    solution, *_ = np.linalg.lstsq(design, targets.numpy(), rcond=None)
    np.testing.assert_allclose(model.predict(values), design @ solution, atol=1e-5)


def test_ridge_finds_a_planted_feature_and_nothing_in_noise():
    values = torch.randn(400, 30, generator=_generator())
    values[:, 5] = 2.5  # says nothing, and has no deviation
    targets = torch.stack((3 * values[:, 7] - 100, torch.randn(400, generator=_generator(1))), dim=1)
    model = fit_ridge(values[:300], targets[:300], torch.arange(300), RidgeConfig())
    found = r_squared(model.predict(values[300:]), targets[300:])
    assert found[0] > 0.999
    assert found[1] < 0.02


def test_r_squared_by_hand():
    targets = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 6.0]])
    predicted = torch.tensor([[1.0, 2.0], [2.0, 2.0], [2.0, 2.0]])
    assert r_squared(predicted, targets).tolist() == [0.5, 0.0]  # 1 - 1 / 2; the mean explains nothing
    assert r_squared(targets, targets).tolist() == [1.0, 1.0]
    assert r_squared(-predicted, targets)[0] == pytest.approx(1 - (4 + 16 + 25) / 2)
    with pytest.raises(ValueError, match=r"targets that vary; constant are \[1\]"):
        r_squared(predicted, targets * torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: RidgeConfig(strengths=()), "strengths must be positive"),
        (lambda: RidgeConfig(strengths=(1.0, 0.0)), "strengths must be positive"),
        (lambda: RidgeConfig(held_out=1.0), "held_out must lie in"),
        (lambda: RidgeConfig(held_out=0.0), "held_out must lie in"),
        (lambda: AttentiveDecoderConfig(epochs=0), "epochs must be at least 1"),
        (lambda: AttentiveDecoderConfig(learning_rate=0.0), "learning_rate must be positive"),
    ],
)
def test_settings_of_decoders_are_checked(config, message):
    with pytest.raises(ValueError, match=message):
        config()


def test_cross_attention_is_torchs_over_tokens_with_their_place():
    torch.manual_seed(0)
    network = CrossAttention(num_tokens=9, width=5, num_targets=2, num_heads=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    tokens = torch.randn(4, 9, 5)
    places = torch.tensor([[row, column] for row in (-1.0, 0.0, 1.0) for column in (-1.0, 0.0, 1.0)])
    x = torch.cat((tokens, places.expand(4, 9, 2)), dim=2)  # (E, n, D + 2)
    queries = network.queries.flatten(0, 1).expand(4, 6, 7)
    seen = F.scaled_dot_product_attention(queries, x, x, scale=1.0).unflatten(1, (2, 3))
    expected = (seen * network.weight).sum((2, 3)) + network.bias
    torch.testing.assert_close(network(tokens), expected)


def _things(count, seed):
    """Tokens of which one holds a thing, and its place: row, column and a part of a column that the token tells."""
    generator = _generator(seed)
    tokens = torch.randn(count, 16, 12, generator=generator)
    place, part = torch.randint(16, (count,), generator=generator), torch.rand(count, generator=generator)
    tokens[torch.arange(count), place, :3] += 6
    tokens[torch.arange(count), place, 3] += 6 * part
    noise = torch.randn(count, generator=generator)
    return tokens, torch.stack((place // 4 * 10.0, place % 4 + part, noise), dim=1)


def test_the_attentive_decoder_finds_a_thing_by_its_look_and_nothing_in_noise():
    (tokens, targets), (others, wanted) = _things(600, 0), _things(200, 1)
    before = torch.random.get_rng_state()
    model, again = (fit_attentive_decoder(tokens, targets, AttentiveDecoderConfig(), seed=5) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    found = r_squared(model.predict(others), wanted)
    assert found[:2].min() > 0.9
    assert found[2] < 0.05
    assert torch.equal(model.predict(others), again.predict(others))
    other = fit_attentive_decoder(tokens, targets, AttentiveDecoderConfig(epochs=1), seed=6)
    assert not torch.equal(model.predict(others), other.predict(others))
