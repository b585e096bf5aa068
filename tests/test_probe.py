"""The probes against numbers by hand, other solvers, and problems whose answer is known."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tats_gym.clips import Video, VideoList
from tats_gym.probe import (
    KnnConfig,
    LogisticConfig,
    ProbeConfig,
    SgdConfig,
    evaluate,
    fit_knn,
    fit_logistic,
    fit_sgd,
)
from tats_gym.probe.features import Features
from tats_gym.probe.logistic import fit, held_out_videos
from tats_gym.probe.scoring import accuracy_of
from tats_gym.probe.sgd import probe_head, probe_optimizer, schedule


def clusters(count, classes=3, width=4, spread=0.1, seed=0):
    """Features (count * classes, width) around one corner a class, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(count)
    return torch.eye(width)[labels] + spread * torch.randn(len(labels), width, generator=generator), labels


def features(values, labels, classes=3, broken=()):
    names = tuple(f"class {i}" for i in range(classes))
    ids = torch.arange(len(labels))
    videos = VideoList(tuple(Video(Path(f"{i}.mp4"), label) for i, label in enumerate(labels.tolist())), names, 0)
    return Features(values[None], labels[None], ids[None], videos, broken, "key")


# --- Logistic regression ---------------------------------------------------------------------------------------------


def test_logistic_meets_its_condition_and_agrees_with_another_solver():
    values, labels = clusters(20, spread=1.0)
    config = LogisticConfig(tolerance=1e-9)
    model = fit(values, labels, 3, 0.01, config)
    assert model.converged
    layer = nn.Linear(4, 3).double()
    standard = (values.double() - values.double().mean(0)) / values.double().std(0, correction=0)
    newton = torch.optim.LBFGS(
        layer.parameters(), max_iter=5000, tolerance_grad=1e-10, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def loss():
        newton.zero_grad()
        value = nn.functional.cross_entropy(layer(standard), labels) + 0.005 * layer.weight.square().sum()
        value.backward()
        return value

    newton.step(loss)
    torch.testing.assert_close(model.weight.T, layer.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.probabilities(values), layer(standard).softmax(1).detach(), rtol=1e-4, atol=1e-6)


def test_logistic_of_two_points_by_hand():
    """Points -1 and 1 of classes 0 and 1: weights (-w, w) with w * l2 = p / 2 * 2 / 2, p = 1 / (1 + e^2w)."""
    model = fit(torch.tensor([[-3.0], [5.0]]), torch.tensor([0, 1]), 2, 0.1, LogisticConfig(tolerance=1e-10))
    w = model.weight[0, 1].item()
    assert model.weight[0, 0].item() == pytest.approx(-w)
    assert 0.1 * w == pytest.approx(1 / (1 + math.exp(2 * w)))
    assert model.bias.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)


def test_logistic_solves_a_separable_problem_and_ignores_scales_and_constants():
    values, labels = clusters(20)
    stretched = torch.cat((values * torch.tensor([1e3, 1.0, 1e-3, 1.0]), torch.full((60, 1), 7.0)), dim=1)
    ids = torch.arange(60)
    plain = fit_logistic(values, labels, ids, 3, LogisticConfig())
    model = fit_logistic(stretched, labels, ids, 3, LogisticConfig())
    assert (model.probabilities(stretched).argmax(1) == labels).all()
    torch.testing.assert_close(model.probabilities(stretched), plain.probabilities(values), rtol=1e-3, atol=1e-4)
    assert model.weight[4].abs().max() == 0


def test_the_strength_is_chosen_by_held_out_clips():
    generator = torch.Generator().manual_seed(0)
    values, labels = torch.randn(60, 40, generator=generator), torch.arange(3).repeat(20)  # no labels to learn from
    ids = torch.arange(60)
    assert fit_logistic(values, labels, ids, 3, LogisticConfig()).l2 == 1.0
    separable, labels = clusters(20, spread=0.01)
    assert fit_logistic(separable, labels, ids, 3, LogisticConfig()).l2 == 1e-6


def test_views_of_a_video_are_held_out_together_and_by_class():
    labels, ids = torch.tensor([0] * 10 + [1] * 5).repeat(2), torch.arange(15).repeat(2)
    held = held_out_videos(labels, ids, 0.2, seed=0)
    assert torch.equal(held[:15], held[15:])
    assert (held[:10].sum(), held[10:15].sum()) == (2, 1)
    assert not torch.equal(held, held_out_videos(labels, ids, 0.2, seed=1))
    with pytest.raises(ValueError, match=r"every class has a single training video.*--logistic.strengths 0.01"):
        held_out_videos(torch.tensor([0, 1]), torch.tensor([0, 1]), 0.2, seed=0)


def test_segments_of_a_video_are_held_out_together_whatever_their_classes():
    labels, ids = torch.arange(4).repeat(10), torch.arange(10).repeat_interleave(4)  # ten videos have all four classes
    held = held_out_videos(labels, ids, 0.2, seed=0)
    assert held.view(10, 4).sum(1).sort().values.tolist() == [0] * 8 + [4] * 2
    with pytest.raises(ValueError, match="every class has a single training video"):
        held_out_videos(labels[:4], ids[:4], 0.2, seed=0)


# --- The recipe with SGD ---------------------------------------------------------------------------------------------


def test_a_lars_step_by_hand():
    """Weight of norm 5, gradient of norm 2: the step is lr * .001 * 5 / 2 of the gradient; the bias takes lr of its."""
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
        layer.bias.fill_(1.0)
    optimizer = probe_optimizer(layer, SgdConfig(base_lr=0.5))
    for _ in range(2):
        layer.weight.grad, layer.bias.grad = torch.tensor([[0.0, 2.0]]), torch.tensor([2.0])
        optimizer.step()
    # Second step: momentum .9 of the first, and the norm of the weight has changed by a little.
    first = 0.5 * 0.001 * 5 / 2 * 2
    second = 0.5 * (0.9 * 0.001 * 5 / 2 * 2 + 0.001 * math.hypot(3, 4 - first) / 2 * 2)
    assert layer.weight[0, 1].item() == pytest.approx(4 - first - second, abs=1e-6)
    assert layer.weight[0, 0].item() == 3.0
    assert layer.bias.item() == pytest.approx(1 - 0.5 * 2 - 0.5 * (0.9 * 2 + 2))


def test_the_learning_rate_rises_and_falls():
    config = SgdConfig()
    assert [schedule(epoch, config) for epoch in (0, 5, 10, 50, 90)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_the_head_normalises_by_the_batch_and_starts_small():
    norm, linear = probe_head(500, 40, torch.Generator().manual_seed(0))
    assert (norm.eps, norm.affine) == (1e-6, False)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert linear.bias.abs().max() == 0


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_sgd_solves_a_separable_problem_and_leaves_the_random_state_alone(optimizer):
    values, labels = clusters(43, spread=0.1)  # 129 rows: a last batch of one would have no variance
    passes = torch.stack((values, values.flip(0)))
    state = torch.random.get_rng_state()
    config = SgdConfig(optimizer=optimizer, batch_size=64, base_lr=2.0 if optimizer == "sgd" else 20.0)
    model = fit_sgd(passes, torch.stack((labels, labels.flip(0))), 3, config)
    assert (model.probabilities(values).argmax(1) == labels).double().mean() > 0.97
    assert torch.equal(state, torch.random.get_rng_state())


# --- Nearest neighbours ----------------------------------------------------------------------------------------------


def test_knn_votes_by_hand():
    train = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]])  # cosines with (1, 0): 1, .6, 0
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[5.0, 0.0]])
    weighted = fit_knn(train, labels, 2, KnnConfig(k=3, temperature=0.5)).probabilities(query)
    one, other = math.exp(1 / 0.5), math.exp(0.6 / 0.5) + 1
    assert weighted[0].tolist() == pytest.approx([one / (one + other), other / (one + other)])
    plain = fit_knn(train, labels, 2, KnnConfig(k=3, votes="plain")).probabilities(query)
    assert plain[0].tolist() == pytest.approx([1 / 3, 2 / 3], abs=1e-3)
    tie = fit_knn(train, labels, 2, KnnConfig(k=2, votes="plain")).probabilities(query)
    assert tie[0, 0] > tie[0, 1]


def test_knn_may_subtract_the_common_part():
    train, labels = torch.tensor([[100.0, 1.0], [100.0, -1.0], [120.0, 1.0]]), torch.tensor([0, 1, 1])
    query = torch.tensor([[119.0, 1.2]])
    assert fit_knn(train, labels, 2, KnnConfig(k=1)).probabilities(query).argmax() == 0
    assert fit_knn(train, labels, 2, KnnConfig(k=1, centre=True)).probabilities(query).argmax() == 1


# --- Evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["logistic", "sgd", "knn"])
def test_every_method_finds_clusters_and_none_finds_noise(method):
    config = ProbeConfig(sgd=SgdConfig(base_lr=20.0))
    train, test = (features(*clusters(60, seed=seed), broken=("lost.mp4",) * (1 - seed)) for seed in (0, 1))
    found = evaluate(method, train, test, config)
    assert found.accuracy.top1 > 0.97
    assert (found.num_train, found.accuracy.videos, found.unreadable_train, found.unreadable_test) == (
        180,
        180,
        1,
        0,
    )
    noise = [features(torch.randn(180, 4, generator=torch.Generator().manual_seed(s)), train.labels[0]) for s in (0, 1)]
    assert evaluate(method, *noise, config).accuracy.top1 < 0.5


def test_scores_of_views_are_averaged():
    values, labels = clusters(20, spread=0.3)
    train = features(values, labels)
    views = torch.stack((values, torch.zeros_like(values)))
    test = Features(views, labels.repeat(2, 1), torch.arange(60).repeat(2, 1), train.videos, (), "key")
    model = fit_logistic(values, labels, torch.arange(60), 3, LogisticConfig())
    expected = (model.probabilities(values) + model.probabilities(views[1])) / 2
    found = evaluate("logistic", train, test, ProbeConfig())
    assert found.accuracy.top1 == accuracy_of(expected, labels).top1


def test_all_training_clips_vote_where_there_are_fewer_than_k(caplog):
    train, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 1, 1])
    knn = fit_knn(train, labels, 2, KnnConfig(k=20, temperature=0.5))
    weights = np.exp(np.array([0.8, 0.6, 0.96]) / 0.5)  # of the cosines to (0.8, 0.6)
    expected = [weights[0] / weights.sum(), weights[1:].sum() / weights.sum()]
    assert knn.probabilities(torch.tensor([[0.8, 0.6]]))[0].tolist() == pytest.approx(expected)
    assert "only 3 training clips for k = 20, so that all of them vote; tats-gym probe takes --knn.k" in caplog.text
    caplog.clear()
    some = features(train, labels, classes=2)
    assert evaluate("knn", some, some, ProbeConfig(knn=KnnConfig(k=3))).fitted == {"k": 3}
    assert not caplog.messages
    assert evaluate("knn", some, some, ProbeConfig()).fitted == {"k": 3}


def test_chance_is_among_the_classes_with_a_training_clip():
    values, labels = clusters(20)
    train = features(values, labels + 5, classes=9)
    assert evaluate("knn", train, train, ProbeConfig()).as_dict()["chance"] == 1 / 3


def test_splits_that_do_not_fit_are_named():
    values, labels = clusters(5)
    train, one = features(values, labels), ProbeConfig()
    with pytest.raises(ValueError, match="15 of 15 clips of the training split have none; take a dataset with labels"):
        evaluate("knn", features(values, labels - 9), train, one)
    with pytest.raises(ValueError, match=r"same classes in the same order, got 3 and 4 \(only one .*'class 3'"):
        evaluate("knn", train, features(values, labels, classes=4), one)
    with pytest.raises(ValueError, match=r"labels of the test split must lie in \[0, 3\), got 4; .*another dataset"):
        evaluate("knn", train, features(values, labels * 2), one)
    with pytest.raises(ValueError, match=r"1 have none \(class 2\)"):
        evaluate("knn", features(values[labels < 2], labels[labels < 2]), train, one)
    with pytest.raises(ValueError, match="the test split has no clip that decodes"):
        evaluate("knn", train, features(values[:0], labels[:0]), one)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: LogisticConfig(strengths=()), "strengths must be positive"),
        (lambda: LogisticConfig(held_out=1.0), r"held_out must lie in \(0, 1\), got 1.0"),
        (lambda: SgdConfig(epochs=5), r"warmup_epochs must lie in \[0, epochs\), got 10 of 5"),
        (lambda: SgdConfig(optimizer="adam"), "optimizer must be one of .*; got 'adam'"),
        (lambda: SgdConfig(batch_size=1), "batch_size must be at least 2 for a batch norm, got 1"),
        (lambda: KnnConfig(k=0), "k must be at least 1, got 0"),
        (lambda: KnnConfig(temperature=0.0), "temperature must be positive, got 0.0"),
    ],
)
def test_bad_settings_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        config()
