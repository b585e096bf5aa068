"""Fine-tuning with a moving average of the weights, and the best checkpoint."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tats_gym.clips.demo.files import make_demo_data
from tats_gym.encoders.find import EncoderSource
from tats_gym.finetune.best import BEST
from tats_gym.finetune.config import FinetuneOptimConfig
from tats_gym.finetune.resume import resume
from tats_gym.finetune.run import Finetuning
from tats_gym.probe.scoring import Accuracy
from tats_gym.runs.checkpoint import latest_checkpoint, load_checkpoint
from tats_gym.train.optimizer import ScheduledAdamW
from tests.test_finetuning import ALONE, _config, _stopped_at_4, _train


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", train=24, validation=12)


def _same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# --- The moving average ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_average_is_that_of_the_weights_after_every_optimiser_step(root, tmp_path, monkeypatch, accumulate):
    config = _config(root, tmp_path, ema=0.7)
    config = replace(config, optim=replace(config.optim, accumulate=accumulate))
    run = Finetuning(config, ALONE)
    by_hand = {name: value.double() for name, value in run.model.state_dict().items()}
    steps = []

    def step(self, loss, step=ScheduledAdamW.step):
        step(self, loss)
        if self.steps > len(steps):
            steps.append(self.steps)
            for name, value in run.model.state_dict().items():
                by_hand[name] = 0.7 * by_hand[name] + 0.3 * value.double()

    monkeypatch.setattr(ScheduledAdamW, "step", step)
    run.run()
    run.close()
    assert len(steps) == 6 // accumulate
    state = load_checkpoint(run.folder)
    for name, value in state["ema"].items():
        torch.testing.assert_close(value.double(), by_hand[name], atol=1e-6, rtol=1e-5)
    far = max((state["classifier"][name] - value).abs().max() for name, value in state["ema"].items())
    assert far > 1e-4  # the weights themselves


def test_the_average_is_tested_and_exported(root, tmp_path):
    run = Finetuning(_config(root, tmp_path, ema=0.99, eval_interval=1), ALONE)
    accuracy = run.run().accuracy
    state = load_checkpoint(run.folder)
    source = EncoderSource.find(run.folder)
    classifier = source.build_classifier().eval()
    assert _same(classifier.state_dict(), state["ema"])
    clips = run.held_out.views(range(12))
    run.close()
    with torch.no_grad():
        predicted = classifier(clips.pixels).argmax(1)
    confusion = np.zeros((12, 12), np.int64)
    np.add.at(confusion, (clips.labels.numpy(), predicted.numpy()), 1)
    assert accuracy.confusion.tolist() == confusion.tolist()


def test_a_stopped_run_goes_on_to_the_very_same_average(root, tmp_path, monkeypatch):
    config = _config(root, tmp_path, ema=0.9, eval_interval=1)
    whole = load_checkpoint(_train(config).folder)
    run = Finetuning(config, ALONE)

    folder = _stopped_at_4(run, monkeypatch).folder
    assert load_checkpoint(folder)["step"] == 4
    again = resume(folder)
    again.run()
    again.close()
    found = load_checkpoint(folder)
    assert _same(found["ema"], whole["ema"])
    assert _same(found["classifier"], whole["classifier"])
    unaveraged = resume(folder, replace(config, ema=None))
    assert unaveraged.evaluated is unaveraged.model
    unaveraged.close()


# --- The best checkpoint ---------------------------------------------------------------------------------------------


def _scored(monkeypatch, shares):
    """Have the evaluations after the epochs, but not the final test, give these top-1 of 10 videos, in order."""
    coming, evaluate = iter(shares), Finetuning.evaluate

    def score(self, temporal=1, spatial=1):
        if temporal > 1:
            return evaluate(self, temporal, spatial)
        right = next(coming)
        confusion = np.zeros((12, 12), np.int64)
        confusion[0, 0], confusion[0, 1] = right, 10 - right
        return Accuracy(confusion, np.zeros(12, np.int64))

    monkeypatch.setattr(Finetuning, "evaluate", score)


def _long_config(root, tmp_path, **changes):
    optim = FinetuneOptimConfig(epochs=4, warmup_epochs=1, base_lr=1e-2)
    settings = {"optim": optim, "eval_interval": 1, "keep_checkpoints": 9, "temporal_views": 2}
    return _config(root, tmp_path, **{**settings, **changes})


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_first_of_the_best_is_kept_and_tested_if_asked_for(root, tmp_path, monkeypatch, ema):
    _scored(monkeypatch, [2, 5, 5, 1])
    result = _train(_long_config(root, tmp_path, test_checkpoint="best", ema=ema))
    best, second = (
        load_checkpoint(result.folder / BEST),
        load_checkpoint(result.folder / "checkpoints/step-000000000006.pt"),
    )
    assert (best["step"], best["top1"]) == (6, 0.5)
    assert _same(best["classifier"], second["classifier" if ema is None else "ema"])
    assert "optim" not in best
    record = json.loads((result.folder / "test.json").read_text())
    assert (record["step"], record["temporal_views"]) == (6, 2)
    assert "test of the best checkpoint, 2 x 1 views" in result.summary(
        _long_config(root, tmp_path, test_checkpoint="best")
    )
    assert load_checkpoint(result.folder)["step"] == 12
    exported = EncoderSource.find(result.folder / BEST)
    assert _same(exported.build_classifier().state_dict(), best["classifier"])
    monkeypatch.undo()
    tested = EncoderSource.find(result.folder / BEST).build_classifier().eval()
    run = resume(result.folder)
    clips = run.held_out.views(range(12), temporal=2)
    run.close()
    with torch.no_grad():
        predicted = tested(clips.pixels).softmax(1).unflatten(0, (12, 2)).mean(1).argmax(1)
    assert record["top1"] == pytest.approx((predicted == clips.labels[::2]).double().mean().item())


def test_the_last_weights_are_tested_by_default(root, tmp_path, monkeypatch):
    _scored(monkeypatch, [2, 5, 5, 1])
    result = _train(_long_config(root, tmp_path))
    assert json.loads((result.folder / "test.json").read_text())["step"] == 12
    assert load_checkpoint(result.folder / BEST)["step"] == 6


def test_a_resumed_run_knows_its_best_and_repeats_later_ones(root, tmp_path, monkeypatch):
    _scored(monkeypatch, [2, 5, 3])
    run = Finetuning(_long_config(root, tmp_path), ALONE)
    monkeypatch.setattr(
        run, "_end_epoch", lambda epoch, end=run._end_epoch: (end(epoch), epoch == 3 and run._request_stop(1))
    )
    folder = run.run().folder
    run.close()
    best = (folder / BEST).read_bytes()
    _scored(monkeypatch, [4])
    again = resume(folder)
    again.run()
    again.close()
    assert (folder / BEST).read_bytes() == best  # of step 6, with a top-1 of .5
    for path in sorted((folder / "checkpoints").glob("step-*"))[1:]:
        path.unlink()  # all after step 3
    _scored(monkeypatch, [1, 1, 4])
    again = resume(folder)
    again.run()
    again.close()
    assert (load_checkpoint(folder / BEST)["step"], load_checkpoint(folder / BEST)["top1"]) == (12, 0.4)


def test_a_damaged_best_checkpoint_does_not_stop_a_run(root, tmp_path, monkeypatch, caplog):
    _scored(monkeypatch, [2, 5, 5, 1])
    folder = _train(_long_config(root, tmp_path)).folder
    (folder / BEST).write_bytes(b"damaged")
    run = resume(folder)
    run.close()
    assert "the best checkpoint so far is not known" in caplog.text
    assert run._best.top1 == -1
    assert latest_checkpoint(folder).name == "step-000000000012.pt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema": 1.0}, r"ema must lie in \(0, 1\), got 1"),
        ({"test_checkpoint": "best", "eval_interval": 5}, "eval_interval must be at most optim.epochs 2, got 5"),
        ({"test_checkpoint": "first"}, "test_checkpoint must be one of last, best; got 'first'"),
    ],
)
def test_bad_settings_are_named(root, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        _config(root, tmp_path, **changes)
