"""Tests a classifier on the held-out videos: the accuracy over all views, its record and its picture."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tats_gym.clips import ClipStream
from tats_gym.clips.decoder import Views
from tats_gym.files.atomic import write_whole
from tats_gym.finetune.config import FinetuneConfig
from tats_gym.model.classifier import VideoClassifier
from tats_gym.probe.scoring import Accuracy, Tally, confusion_picture
from tats_gym.train.device_copy import DeviceCopy, copy_stream
from tats_gym.train.distributed import Ranks
from tats_gym.train.precision import Precision, autocast


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
        return (
            f"test, {config.temporal_views} x {config.spatial_views} views: top-1 {accuracy.top1:.1%} "
            f"[{low:.1%}, {high:.1%}]{top5} of {accuracy.videos} videos{broken}\n"
            f"by class:   {self.folder / 'test.json'}\npicture:    {self.folder / 'pictures' / 'confusion.png'}"
        )


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


def write_test(folder: Path, accuracy: Accuracy, classes: tuple[str, ...], config: FinetuneConfig, step: int) -> None:
    """Write test.json and the confusion matrix into a run's folder."""
    views = {"temporal_views": config.temporal_views, "spatial_views": config.spatial_views}
    record = {"step": step, **views, **accuracy.as_dict(classes)}
    write_whole(folder / "test.json", json.dumps(record, indent=1) + "\n")
    confusion_picture(accuracy, classes, folder / "pictures" / "confusion.png")
