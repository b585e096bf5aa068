"""Fine-tuning runs of seconds: going on, stopping, several processes, refused settings."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tats_gym.clips import ClipConfig
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.encoders.find import EncoderSource
from tats_gym.finetune.config import FinetuneOptimConfig, finetune_preset
from tats_gym.finetune.resume import begin_or_resume, resume, run_config
from tats_gym.finetune.run import Finetuning
from tats_gym.runs.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint
from tats_gym.train.distributed import Ranks
from tats_gym.train.nonfinite import NonFiniteError
from tats_gym.train.optimizer import ScheduledAdamW
from tats_gym.train.signals import PREEMPTED

ROOT = Path(__file__).parent.parent
ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", train=24, validation=12)


def _config(root, out, **changes):
    config = finetune_preset("TatsMask-demo-v0", "tiny")
    config = replace(
        config,
        frames=4,
        size=32,
        batch_size=8,
        drop_path=0.2,
        out=str(out),
        device="cpu",
        quiet=True,
        eval_interval=2,
        log_interval=1,
        test_batch_size=5,
        clips=replace(config.clips, root=str(root), cache_mib=64),
        mix=replace(config.mix, mixup=0.8, cutmix=1.0),
        optim=FinetuneOptimConfig(epochs=2, warmup_epochs=1, base_lr=1e-2),
    )
    return replace(config, **changes)


def _train(config, ranks=ALONE):
    run = Finetuning(config, ranks)
    try:
        return run.run()
    finally:
        run.close()


def _weights(folder):
    return load_checkpoint(latest_checkpoint(folder))["classifier"]


def test_a_run_leaves_test_picture_metrics_and_a_checkpoint(root, tmp_path):
    result = _train(_config(root, tmp_path))
    assert result.accuracy.videos == 12
    record = json.loads((result.folder / "test.json").read_text())
    assert sum(row["videos"] for row in record["by_class"]) == 12
    assert record["top1"] == pytest.approx(result.accuracy.top1)
    assert (result.folder / "pictures" / "confusion.png").stat().st_size > 1000
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5, 6]
    assert all(row["train/grad_norm"] > 0 == row["train/skipped_steps"] for row in rows if "train/loss" in row)
    assert [row["step"] for row in rows if "held_out/top1" in row] == [6]
    assert load_checkpoint(result.folder)["step"] == 6


def _stopped_at_4(run, monkeypatch):
    """Stop a training at its fourth optimiser step, and return its result."""

    def stop_at_4(self, loss, step=ScheduledAdamW.step):
        if self.steps == 3:
            run._request_stop(PREEMPTED)
        return step(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(ScheduledAdamW, "step", stop_at_4)
        stopped = run.run()
    run.close()
    return stopped


def test_a_stopped_run_goes_on_to_the_very_same_weights(root, tmp_path, monkeypatch):
    whole = _train(_config(root, tmp_path))
    run = Finetuning(_config(root, tmp_path), ALONE)

    stopped = _stopped_at_4(run, monkeypatch)
    assert stopped.accuracy is None
    assert load_checkpoint(stopped.folder)["step"] == 4
    again = resume(stopped.folder)
    assert again.config == run_config(stopped.folder) == run.config
    accuracy = again.run().accuracy
    one, two = _weights(whole.folder), _weights(stopped.folder)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert accuracy.confusion.tolist() == whole.accuracy.confusion.tolist()


def test_a_run_in_a_folder_of_its_own_goes_on_when_it_is_asked_for_again(root, tmp_path):
    config, folder = _config(root, tmp_path), tmp_path / "own"
    folder.mkdir()
    (folder / "replaced_clips.jsonl").write_text("of a run that ended before its first checkpoint\n")
    (folder / "config.json").write_text(json.dumps({"config": config.as_dict()}))
    run = begin_or_resume(folder, config, ALONE)
    assert not (folder / "replaced_clips.jsonl").exists()
    run.save()
    run.close()
    again = begin_or_resume(folder, replace(config, eval_interval=3), ALONE)
    again.close()
    assert run.folder == again.folder == folder
    assert run_config(folder).eval_interval == 3
    assert all(torch.equal(one, two) for one, two in zip(run.model.parameters(), again.model.parameters(), strict=True))


def test_an_epoch_ends_where_no_gradients_are_gathered(root, tmp_path):
    config = _config(root, tmp_path, clips=replace(_config(root, tmp_path).clips, subset=None))
    optim = replace(config.optim, accumulate=2)
    run = Finetuning(replace(config, optim=optim, batch_size=len(Finetuning(config, ALONE).train) // 3), ALONE)
    assert run.steps_per_epoch == 2
    saved, save = [], run.save
    run.save = lambda: (saved.append(run.optimizer.no_pending_gradients), save())
    run.run()
    run.close()
    assert saved == [True] * 3


def test_a_signal_that_comes_while_processes_agree_is_not_forgotten(root, tmp_path, monkeypatch):
    run = Finetuning(_config(root, tmp_path), ALONE)

    def agree(code, device):
        run._request_stop(PREEMPTED)  # after the code was read
        return code

    monkeypatch.setattr("tats_gym.finetune.run.maximum", agree)
    stopped = run.run()
    assert stopped.accuracy is None
    assert load_checkpoint(stopped.folder)["step"] == 2


def test_views_are_averaged_and_each_video_counts_once(root, tmp_path):
    run = Finetuning(_config(root, tmp_path), ALONE)
    accuracy = run.evaluate(temporal=2, spatial=3)
    assert accuracy.videos == 12
    clips = run.held_out.views(range(12), temporal=2, spatial=3)
    with torch.no_grad():
        probabilities = run.model.eval()(clips.pixels).softmax(1).unflatten(0, (12, 6)).mean(1)
    labels = torch.tensor([video.label for video in run.held_out.videos.videos])
    assert accuracy.top1 == pytest.approx((probabilities.argmax(1) == labels).float().mean().item())
    run.close()


def test_a_held_out_video_that_breaks_counts_as_wrong(root, tmp_path):
    run = Finetuning(_config(root, tmp_path), ALONE)
    path = run.held_out.videos.videos[3].path
    content = path.read_bytes()
    try:
        path.write_bytes(b"no video")
        accuracy = run.evaluate()
    finally:
        path.write_bytes(content)
        run.close()
    assert (accuracy.videos, accuracy.broken, int(accuracy.confusion.sum())) == (12, 1, 11)


TWO_PROCESSES = """
import sys
from tests.test_finetuning import _config, _train
from tats_gym.train.distributed import process_group
with process_group("cpu") as ranks:
    config = _config(sys.argv[1], sys.argv[2], batch_size=4, drop_path=0.0)
    from dataclasses import replace
    _train(replace(config, mix=replace(config.mix, mixup=0.0, cutmix=0.0)), ranks)
"""


def test_two_processes_train_as_one_with_a_batch_twice_as_large(root, tmp_path):
    config = _config(root, tmp_path / "one", drop_path=0.0)
    one = _train(replace(config, mix=replace(config.mix, mixup=0.0, cutmix=0.0)))
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(script), str(root), str(tmp_path / "two")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "two").iterdir()
    both, alone = _weights(folder), _weights(one.folder)
    for name in alone:
        torch.testing.assert_close(both[name], alone[name], atol=2e-5, rtol=1e-3)
    tested = [json.loads((path / "test.json").read_text())["videos"] for path in (folder, one.folder)]
    assert tested == [12, 12]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_checkpoint(root, tmp_path, monkeypatch):
    def explode_at_4(self, clips, labels, loss=Finetuning._loss):
        return loss(self, clips, labels) * (float("nan") if self.step == 4 else 1.0)

    monkeypatch.setattr(Finetuning, "_loss", explode_at_4)
    with pytest.raises(NonFiniteError, match="the classifier's loss is nan at optimiser step 4"):
        _train(_config(root, tmp_path))
    (folder,) = tmp_path.iterdir()
    assert load_checkpoint(folder)["step"] == 3


def test_data_without_labels_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match="TatsMask-folder-v0 has no labels to learn"):
        finetune_preset("TatsMask-folder-v0", "tiny")
    with pytest.raises(ValueError, match="did you mean 'TatsMask-ssv2-v0'"):
        finetune_preset("TatsMask-ssv-v0", "tiny")
    videos = sorted(map(str, root.rglob("*.webm")))
    (tmp_path / "train.csv").write_text("\n".join(videos[:6]) + "\n")
    (tmp_path / "val.csv").write_text("\n".join(f"{video} {i % 3}" for i, video in enumerate(videos[6:12])) + "\n")
    config = _config(root, tmp_path, env="TatsMask-list-v0", clips=ClipConfig(data="list", root=str(tmp_path)))
    with pytest.raises(ValueError, match="6 of 6 clips of the training split have none"):
        Finetuning(config, ALONE)


def test_a_checkpoint_of_another_dataset_or_kind_is_refused(root, tmp_path):
    result = _train(_config(root, tmp_path / "runs"))
    other = tmp_path / "list"
    other.mkdir()
    lines = [f"{video} {i % 3}" for i, video in enumerate(sorted(root.rglob("*.webm"))[:6])]
    for split in ("train", "val"):
        (other / f"{split}.csv").write_text("\n".join(lines) + "\n")
    clips = ClipConfig(data="list", root=str(other))
    with pytest.raises(CheckpointError, match=r"learned 12 classes .*, the dataset has 3"):
        resume(result.folder, replace(run_config(result.folder), env="TatsMask-list-v0", clips=clips))
    state = load_checkpoint(result.folder)
    torch.save({"step": 6, "mae": state["classifier"]}, latest_checkpoint(result.folder))
    with pytest.raises(CheckpointError, match="not a fine-tuning's checkpoint"):
        resume(result.folder)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("mae_config", {"depth": "3"}, "architecture is not valid: mae.depth must be a whole number, got '3'"),
        ("mae_config", {"depth": 2}, "depth is recorded as 2, its weights have 3"),
        ("grid", {"frames": 5}, "architecture is not valid: frames must be a multiple of tubelet_size"),
    ],
)
def test_a_checkpoint_with_a_damaged_description_is_refused(root, tmp_path, part, changes, message):
    result = _train(_config(root, tmp_path))
    state = load_checkpoint(result.folder)
    torch.save({**state, part: {**state[part], **changes}}, latest_checkpoint(result.folder))
    with pytest.raises(CheckpointError, match=message):
        resume(result.folder)


def test_a_fine_tuned_encoder_is_found_and_fine_tuned_again(root, tmp_path):
    result = _train(_config(root, tmp_path / "one"))
    source = EncoderSource.find(result.folder)
    assert not source.has_norm
    weights = _weights(result.folder)
    encoder = source.build(norm="none")
    assert all(torch.equal(value, weights[f"video.{name}"]) for name, value in encoder.state_dict().items())
    again = Finetuning(_config(root, tmp_path / "two", encoder=str(result.folder), frames=None, size=None), ALONE)
    assert torch.equal(again.model.video.encoder.blocks[0].mlp.fc1.weight, encoder.encoder.blocks[0].mlp.fc1.weight)
    again.close()


def test_from_scratch_is_the_same_architecture_with_weights_of_the_seed(root, tmp_path):
    result = _train(_config(root, tmp_path / "one"))
    config = _config(root, tmp_path / "two", encoder=str(result.folder), frames=None, size=None, scratch=True, seed=3)
    fresh = Finetuning(config, ALONE)
    assert fresh.model.video.grid == EncoderSource.find(result.folder).grid
    drawn = EncoderSource.find("tiny", fresh.model.video.grid, seed=3).build(norm="none").state_dict()
    assert all(torch.equal(value, drawn[name]) for name, value in fresh.model.video.state_dict().items())
    fresh.close()


def test_a_head_on_frames_trains_and_goes_on(root, tmp_path):
    result = _train(_config(root, tmp_path, pool="frames"))
    assert _weights(result.folder)["head.weight"].shape == (12, 2 * 128)
    again = resume(result.folder)
    assert torch.equal(again.model.head.weight, _weights(result.folder)["head.weight"])
    again.close()
