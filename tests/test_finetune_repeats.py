"""A batch of a fine-tuning counts videos, of each of which it takes several clips."""

from dataclasses import replace

import pytest
import torch

from tats_gym.clips.demo.files import make_demo_data
from tats_gym.finetune.config import FinetuneOptimConfig
from tats_gym.finetune.resume import resume, run_config
from tats_gym.finetune.run import Finetuning
from tats_gym.runs.checkpoint import CheckpointError, load_checkpoint
from tests.test_finetuning import ALONE, _config, _train, _weights


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", train=24, validation=12)


def _repeated(root, out, **changes):
    config = _config(root, out, drop_path=0.0, **changes)
    return replace(config, clips=replace(config.clips, repeats=2))


def test_a_batch_counts_videos_and_its_repeats_change_neither_steps_nor_learning_rate(root, tmp_path):
    runs = [Finetuning(make(root, tmp_path, batch_size=6), ALONE) for make in (_config, _repeated)]
    for run in runs:
        assert run.steps_per_epoch == 24 // 6  # as published: training videos over the batch
        assert run.optimizer.lr.highest == pytest.approx(1e-2 * 6 / 256)  # lr * total_batch_size / 256
    once, twice = (run.train.take(run.config.step_clips) for run in runs)
    assert (len(once), len(twice)) == (6, 12)
    assert twice.ids.tolist() == [id_ for id_ in once.ids.tolist() for _ in range(2)]
    assert not torch.equal(twice.pixels[0], twice.pixels[1])  # two crops of one window
    for run in runs:
        run.close()


def test_a_run_from_before_batches_counted_videos_says_how_it_goes_on_and_goes_on_as_it_was(root, tmp_path):
    optim = FinetuneOptimConfig(epochs=2, warmup_epochs=1, base_lr=2e-2, min_lr=2e-6)
    whole = _train(_repeated(root, tmp_path, batch_size=4, optim=optim))
    first = next(
        path for path in sorted((whole.folder / "checkpoints").iterdir()) if load_checkpoint(path)["step"] == 6
    )
    state, expected = load_checkpoint(first), _weights(whole.folder)
    del state["step_clips"]
    state["optim"]["step_clips"] = 8  # as clips were counted
    torch.save({**state, "batch_size": 8}, first)
    for later in (whole.folder / "checkpoints").iterdir():
        if later != first:
            later.unlink()
    old = replace(run_config(whole.folder), batch_size=8, optim=replace(optim, base_lr=1e-2, min_lr=1e-6))
    way_out = r"--batch-size 4 --optim.base-lr 0\.02 --optim.min-lr 2e-06, which are then the run's own"
    with pytest.raises(CheckpointError, match=f"began when batch_size counted clips, 2 of each video.*{way_out}"):
        resume(whole.folder, old)
    again = resume(whole.folder, replace(old, batch_size=4, optim=optim))
    assert (again.step, again.optimizer.steps) == (6, 6)
    again.run()
    again.close()
    weights = _weights(whole.folder)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
