"""Tests a classifier on the held-out videos: the accuracy over all views, its record and its picture."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tats_gym.clips import ClipStream
from tats_gym.clips.decoder import Views
from tats_gym.files.atomic import write_whole
from tats_gym.finetune.config import FinetuneConfig
from tats_gym.finetune.start import find_source
from tats_gym.model.classifier import VideoClassifier
from tats_gym.probe.labels import check_labelled, labels_of
from tats_gym.probe.scoring import Accuracy, Tally, confusion_picture
from tats_gym.runs.checkpoint import has_checkpoint
from tats_gym.runs.folder import check_run_folder
from tats_gym.runs.lock import RunLock, claim_run
from tats_gym.train.device_copy import DeviceCopy, copy_stream
from tats_gym.train.distributed import Ranks, broadcast
from tats_gym.train.precision import Precision, autocast

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneResult:
    """The result of a fine-tuning."""

    folder: Path
    """The run's folder."""
    accuracy: Accuracy | None
    """Accuracy of the final test, in all views; None where the run was stopped before it."""
    classes: tuple[str, ...]
    """Names of the classes."""
    exit_code: int
    """0 where the run ended by itself, else the signal's, see `tats_gym.train.signals`."""

    def summary(self, config: FinetuneConfig) -> str:
        """Return the test's accuracy and its files, or for a stopped run the command that continues it."""
        if self.accuracy is None:
            return f"stopped; go on with: tats-gym finetune --resume {self.folder}"
        accuracy, (low, high) = self.accuracy, self.accuracy.top1_interval  # Wilson's
        top5 = "" if accuracy.top5 is None else f", top-5 {accuracy.top5:.1%}"
        broken = f" ({accuracy.broken} of them broken, counted as wrong)" if accuracy.broken else ""
        best = " of the best checkpoint" if config.test_checkpoint == "best" else ""
        return (
            f"test{best}, {config.temporal_views} x {config.spatial_views} views: top-1 {accuracy.top1:.1%} "
            f"[{low:.1%}, {high:.1%}]{top5} of {accuracy.videos} videos{broken}\n"
            f"by class:   {self.folder / 'test.json'}\npicture:    {self.folder / 'pictures' / 'confusion.png'}"
        )


def run_test(config: FinetuneConfig, ranks: Ranks, folder: Path | None = None) -> FinetuneResult:
    """Test the classifier that the settings name on the held-out videos, without training.

    Published classifiers are tested in the views of their own test, see `ClipConfig.published_views`.

    Args:
        config: The settings; those of the training are not used.
        ranks: The ranks, which share the videos.
        folder: A new folder for the results; None for one in `config.out`.

    Raises:
        ValueError: If a video has no label, the dataset has another number of classes than the classifier, or the
            folder holds another run.
        CheckpointError: If there is no classifier, or it is damaged.
    """
    source = find_source(config)
    published = config.clips.published_views or (source.head is not None and source.head.config.published_views)
    clips = replace(config.clips.held_out, published_views=published)
    held_out = ClipStream(clips, frames=source.grid.frames, size=source.grid.size, seed=0)
    check_labelled("held-out", labels_of(held_out.videos))
    classes = held_out.videos.classes
    if source.head is not None:
        if not published:
            _warn_of_resize(source.head.config.antialias, clips.antialias)
        source = replace(source, head=source.head.ordered(classes))
    model = source.build_classifier().to(ranks.device)
    claimed = _claim(config, folder, ranks)
    try:
        accuracy = evaluate(model, held_out, config, ranks, Views(config.temporal_views, config.spatial_views))
        if claimed:
            write_test(claimed[0], accuracy, classes, config, None)
    finally:
        held_out.close()
        if claimed:
            claimed[1].release()
    return FinetuneResult(broadcast(claimed and claimed[0]), accuracy, classes, 0)


def _warn_of_resize(own_clips: bool, tested: bool) -> None:
    """Warn where a classifier is tested with another resize than it was trained with."""
    if own_clips != tested:
        option = "--antialias" if own_clips else "--no-antialias"
        logger.warning("the classifier was trained with %s, and is tested without; give it to test as it was", option)


def _claim(config: FinetuneConfig, folder: Path | None, ranks: Ranks) -> tuple[Path, RunLock] | None:
    """Claim the folder of a test without training in rank 0."""
    if not ranks.first:
        return None
    if folder is not None:
        check_run_folder(folder, config.as_dict())
        if has_checkpoint(folder):
            raise ValueError(f"{folder} holds a training, and a test would write over its record; name a new folder")
    numbered = Path(config.out, f"{config.clips.data}-test")
    return claim_run(folder, numbered, config.as_dict(), ranks, lock=None, resumed=False)


@torch.no_grad()
def evaluate(
    model: VideoClassifier, held_out: ClipStream, config: FinetuneConfig, ranks: Ranks, views: Views
) -> Accuracy:
    """Score the held-out videos, each by the mean class probabilities of its views; ranks share the videos."""
    model.eval()
    copies = copy_stream(ranks.device)
    tally = Tally(model.head.out_features, ranks.device)
    ids = range(ranks.rank, len(held_out.videos), ranks.world_size)
    for batch in held_out.each(ids, config.test_batch_size, temporal=views.temporal, spatial=views.spatial):
        clips = DeviceCopy(batch.pixels, ranks.device, copies).get()
        probabilities = class_probabilities(model, clips, views, config.precision)
        tally.add(probabilities, batch.labels[:: views.count].to(ranks.device))
        tally.add_broken(len(batch.missing))
    return tally.accuracy()


@torch.no_grad()
def class_probabilities(model: VideoClassifier, clips: Tensor, views: Views, precision: Precision) -> Tensor:
    """Return the mean class probabilities (B, classes) over the views of each video, (B * R, C, T, H, W)."""
    with autocast(precision, clips.device):
        logits = model(clips)
    probabilities: Tensor = logits.float().softmax(1).unflatten(0, (-1, views.count)).mean(1)
    return probabilities


def write_test(
    folder: Path, accuracy: Accuracy, classes: tuple[str, ...], config: FinetuneConfig, step: int | None
) -> None:
    """Write test.json and the confusion matrix into a run's folder; `step` is None without a training."""
    views = {"temporal_views": config.temporal_views, "spatial_views": config.spatial_views}
    record = {"step": step, **views, **accuracy.as_dict(classes)}
    write_whole(folder / "test.json", json.dumps(record, indent=1) + "\n")
    confusion_picture(accuracy, classes, folder / "pictures" / "confusion.png")
