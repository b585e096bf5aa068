"""The probe of the encoder while it is pre-trained."""

import logging
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tats_gym.agents.training.measures.online_probe import OnlineProbe
from tats_gym.agents.training.plan import plan_run
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.model.encoder import VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.model.videomae import MaskedAutoencoder
from tats_gym.runs.checkpoint import load_checkpoint
from tests.runs import rows, states_of_a_resume, tiny_config, train

MEASURED = {"held_out/knn_top1", "held_out/knn_chance", "held_out/knn_clips", "held_out/rankme"}
LINEAR = "held_out/logistic_top1"


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", train=24, validation=12)


def _config(root, out, **changes):
    clips = ClipConfig(data="demo", root=str(root), stride=1)
    return tiny_config(root, out, env="TatsMask-demo-v0", clips=clips, **changes)


def _same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("method", ["knn", "logistic"])
def test_a_run_with_the_probe_trains_the_very_same_weights(root, tmp_path, method):
    _, plain = train(_config(root, tmp_path))
    _, probed = train(_config(root, tmp_path, online_probe=method))
    one, other = (load_checkpoint(result.folder) for result in (plain, probed))
    assert one.keys() == other.keys()
    assert all(_same(one[part], other[part]) for part in one.keys() - {"config"})  # random states included

    measured = [row for row in rows(probed.folder) if "held_out/gain" in row]
    assert [row["step"] for row in measured if row.keys() >= MEASURED] == [0, 16, 32]
    assert {row["held_out/knn_chance"] for row in measured} == {1 / 12}
    assert {row["held_out/knn_clips"] for row in measured} == {12}
    assert {LINEAR in row for row in measured} == {method == "logistic"}
    without = [row for row in rows(plain.folder) if "held_out/gain" in row]
    for row, twin in zip(measured, without, strict=True):
        assert {name: row[name] for name in twin if name.startswith("held_out/")} == {
            name: value for name, value in twin.items() if name.startswith("held_out/")
        }
        assert not MEASURED & twin.keys()


def test_a_resumed_run_with_the_probe_ends_with_the_very_same_weights(root, tmp_path):
    folder, expected, state = states_of_a_resume(_config(root, tmp_path, online_probe="knn"))
    assert all(_same(state[part], expected[part]) for part in expected.keys() - {"config"})
    measured = [row["step"] for row in rows(folder) if "held_out/knn_top1" in row]
    assert measured[-1] == 32


def test_a_dry_run_counts_the_probe_in_the_time_of_a_measurement(root, tmp_path, monkeypatch):
    monkeypatch.setattr(OnlineProbe, "measure", lambda self: time.sleep(1.5))
    plain, probed = (plan_run(_config(root, tmp_path, online_probe=probe)) for probe in (None, "knn"))
    assert probed.measurement_s > 1.5 > plain.measurement_s


def _expected(config, mae, num_train):
    """Top-1 of both methods and effective rank, from the features of the encoder that is kept after the training.

    Votes are counted by loops, and torch solves the regression.
    """
    encoder = VideoEncoder(mae.config, mae.grid).eval()
    load_encoder_weights(encoder, encoder_weights(mae.state_dict()))
    parts = []
    for clips, count in ((config.clips, num_train), (config.clips.held_out, 12)):
        stream = ClipStream(clips, frames=4, size=32, seed=0)
        batch = stream.centre(range(0, len(stream.videos), len(stream.videos) // count))
        parts.append((encoder(batch.pixels).mean(1).detach().double().numpy(), batch.labels.tolist()))
    (train_x, train_y), (test_x, test_y) = parts
    right = 0
    for x, label in zip(test_x, test_y, strict=True):
        cosines = [x @ each / np.linalg.norm(x) / np.linalg.norm(each) for each in train_x]
        votes = np.zeros(12)
        for near in sorted(range(len(cosines)), key=lambda i: -cosines[i])[:20]:
            votes[train_y[near]] += np.exp(cosines[near] / 0.07)
        right += votes.argmax() == label
    singular = np.linalg.svd(train_x, compute_uv=False)
    shares = singular / singular.sum()
    return right / 12, _regression(train_x, train_y, test_x, test_y), np.exp(-(shares * np.log(shares)).sum())


def _regression(train_x, train_y, test_x, test_y):
    """Top-1 of logistic regression with l2 = .1 on standardised features, solved by torch."""
    mean, deviation = train_x.mean(0), train_x.std(0)
    x, test = (torch.from_numpy((values - mean) / deviation) for values in (train_x, test_x))
    layer = torch.nn.Linear(x.shape[1], 12).double()
    solver = torch.optim.LBFGS(layer.parameters(), max_iter=2000, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss():
        solver.zero_grad()
        error = torch.nn.functional.cross_entropy(layer(x), torch.tensor(train_y))
        (error + 0.05 * layer.weight.square().sum()).backward()
        return error.detach() + 0.05 * layer.weight.detach().square().sum()

    solver.step(loss)
    return (layer(test).argmax(1) == torch.tensor(test_y)).double().mean().item()


def test_it_counts_the_votes_of_the_encoders_own_features(root, tmp_path, caplog):
    config = _config(root, tmp_path)
    torch.manual_seed(0)
    mae = MaskedAutoencoder(config.mae, config.grid)
    probe = OnlineProbe(config.clips, mae, method="logistic", num_clips=24, batch_size=5, precision="fp32")
    state = torch.random.get_rng_state()
    with caplog.at_level(logging.WARNING):
        measured = probe.measure()
    unchanged = torch.equal(state, torch.random.get_rng_state())
    knn, logistic, rank = _expected(config, mae, 24)
    assert measured.knn_top1 == pytest.approx(knn)
    assert measured.logistic_top1 == pytest.approx(logistic)
    assert measured.rankme == pytest.approx(rank, rel=1e-3)
    assert not caplog.records
    assert unchanged
    assert mae.training


def test_fewer_clips_than_neighbours_all_vote_and_are_reported_once(root, tmp_path, caplog):
    config = _config(root, tmp_path)
    torch.manual_seed(0)
    mae = MaskedAutoencoder(config.mae, config.grid)
    probe = OnlineProbe(config.clips, mae, method="knn", num_clips=6, batch_size=4, precision="fp32")
    assert [len(part.clips) for part in (probe.train, probe.test)] == [6, 6]
    first, second = probe.measure(), probe.measure()
    assert first == second
    assert probe.knn.k == 6
    assert caplog.text.count("only 6 training clips for k = 20") == 1
    assert first.knn_chance == 1 / len(probe.train.labels.values.unique())


def test_data_without_classes_are_refused(clips_root, tmp_path):
    with pytest.raises(ValueError, match=r"online_probe knn: every clip needs a class.*leave online_probe out"):
        Pretraining(tiny_config(clips_root, tmp_path, online_probe="knn"))
    assert not list(tmp_path.iterdir())


def test_an_mae_of_another_package_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match=r"online_probe needs the encoder of tats_gym's MAE, got own_mae a:b"):
        replace(_config(root, tmp_path), own_mae="a:b", init_mae=None, online_probe="knn")
