"""Probes the encoder while it is pre-trained: classes of a few labelled clips, from its features."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.readable import evenly_spaced
from tats_gym.model.protocol import MaskedModel, device_of, evaluating
from tats_gym.model.videomae import MaskedAutoencoder
from tats_gym.probe.knn import KnnConfig, fit_knn
from tats_gym.probe.labels import Labels, check_labels, labels_of
from tats_gym.probe.logistic import LogisticConfig, fit
from tats_gym.probe.rankme import rankme
from tats_gym.probe.scoring import Accuracy, accuracy_of
from tats_gym.train.precision import Precision, autocast

L2 = 0.1
"""Strength of L2 of the logistic regression. It is fixed: a choice on held-out clips would cost seven fits, and fail
where classes have a single clip."""


@dataclass(frozen=True)
class OnlineProbeMetrics:
    """One measurement of the encoder."""

    knn_top1: float
    """Share of the held-out clips whose class the nearest training clips vote for."""
    knn_chance: float
    """Accuracy of guessing among the classes that have a training clip here."""
    knn_clips: int
    """Number of held-out clips that are classified."""
    rankme: float
    """Effective rank of the training clips' features, from 1 to the smaller of their number and their width."""
    logistic_top1: float | None
    """Share of the held-out clips whose class a logistic regression predicts; None where it is not asked for."""


@dataclass(frozen=True)
class _Part:
    """Clips of one split in their centre view."""

    clips: Tensor
    """(E, C, T, H, W) uint8, on the host."""
    labels: Labels


class OnlineProbe:
    """Classifies held-out clips by their mean-pooled features: nearest training clips, and logistic regression.

    Both parts are decoded once, evenly spaced over their lists, in their centre views. A measurement encodes all tokens
    of every clip without a gradient; it draws no random numbers and changes no weight.

    Args:
        clips: The training clips.
        mae: The MAE whose encoder is probed.
        method: `knn`, or `logistic` for both.
        num_clips: Most clips of each part.
        batch_size: Clips in one forward pass.
        precision: Arithmetic of the forward passes.

    Raises:
        ValueError: If a part has clips without a class, or the parts have different classes.
        VideoReadError: If more than `clips.max_broken` of a part's clips cannot be read.
    """

    def __init__(
        self,
        clips: ClipConfig,
        mae: MaskedAutoencoder,
        *,
        method: Literal["knn", "logistic"],
        num_clips: int,
        batch_size: int,
        precision: Precision,
    ) -> None:
        self.mae, self.method, self.batch_size, self.precision = mae, method, batch_size, precision
        once = replace(clips, repeats=1, cache_mib=0, cache_windows=0)
        grid = mae.grid
        streams = [ClipStream(part, frames=grid.frames, size=grid.size, seed=0) for part in (once, once.held_out)]
        check_labels(*(labels_of(stream.videos) for stream in streams))
        self.train, self.test = (_read(stream, num_clips, batch_size) for stream in streams)
        self.knn = KnnConfig()

    def measure(self) -> OnlineProbeMetrics:
        """Encode the clips with the present weights, classify the held-out ones, and rank the features."""
        train, test = self._features(self.train), self._features(self.test)  # (E, D)
        labels, classes = self.train.labels
        model = fit_knn(train, labels, len(classes), self.knn)
        self.knn = model.config  # a k above the number of clips is lowered, and reported, once
        knn = self._accuracy(model.probabilities(test))
        linear = None
        if self.method == "logistic":
            solved = fit(train, labels, len(classes), L2, LogisticConfig())
            linear = self._accuracy(solved.probabilities(test)).top1
        return OnlineProbeMetrics(knn.top1, 1 / len(labels.unique()), knn.videos, rankme(train), linear)

    def _accuracy(self, probabilities: Tensor) -> Accuracy:
        return accuracy_of(probabilities, self.test.labels.values)

    def _features(self, part: _Part) -> Tensor:
        """Return the mean over all tokens of each clip's features (E, D), on the host."""
        device = device_of(self.mae)
        pooled = []
        with torch.no_grad(), autocast(self.precision, device), evaluating(self.mae):
            for clips in part.clips.split(self.batch_size):
                tokens = self.mae.encoder(self.mae.embed(clips.to(device)))  # (B, L, D)
                pooled.append(tokens.float().mean(1).cpu())
        return torch.cat(pooled)


def online_probe_for(config: PretrainConfig, mae: MaskedModel) -> OnlineProbe | None:
    """Build the probe that a run's settings ask for; None where they ask for none.

    Raises:
        ValueError: If the dataset has no classes.
    """
    if config.online_probe is None:
        return None
    if not isinstance(mae, MaskedAutoencoder):
        raise TypeError(f"online_probe needs the encoder of a MaskedAutoencoder, got a {type(mae).__name__}")
    try:
        return OnlineProbe(
            config.clips,
            mae,
            method=config.online_probe,
            num_clips=config.online_probe_clips,
            batch_size=config.num_envs,
            precision=config.precision,
        )
    except ValueError as err:
        raise ValueError(f"online_probe {config.online_probe}: {err}; leave online_probe out to train without") from err


def _read(stream: ClipStream, num_clips: int, batch_size: int) -> _Part:
    """Decode evenly spaced clips of a split; lists are often sorted by class."""
    ids = evenly_spaced(range(len(stream)), num_clips)
    try:
        batches = list(stream.each(ids, batch_size))
    finally:
        stream.close()
    labels = torch.cat([batch.labels for batch in batches])
    return _Part(torch.cat([batch.pixels for batch in batches]), Labels(labels, stream.videos.classes))
