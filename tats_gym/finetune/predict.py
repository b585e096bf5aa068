"""Predicts the classes of videos with a fine-tuned classifier, by the mean of its test views."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import Tensor

from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.augment import Sampling
from tats_gym.clips.datasets.folder_and_list import LIST_FILES, write_list
from tats_gym.clips.datasets.layout import Video, VideoList
from tats_gym.clips.decoder import Views
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.head import HeadConfig
from tats_gym.files.video_files import find_videos
from tats_gym.finetune.testing import class_probabilities
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.precision import AUTO, Precision, resolve_device


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """The videos, the classifier, and the views of each video.

    Views that a classifier's file does not record are those of `HeadConfig`.
    """

    videos: tyro.conf.Positional[tuple[Path, ...]]
    """Videos, or folders with videos anywhere below them."""
    classifier: str
    """A fine-tuned run or its checkpoint, an export, a Hugging Face folder, or a published fine-tuned file."""
    top: int = 5
    """Classes to print for each video, the most probable first."""
    json: bool = False
    """Print a line of JSON for each video."""
    temporal_views: int | None = None
    """Windows of each video; None takes the classifier's own."""
    spatial_views: int | None = None
    """Squares of each window; None takes the classifier's own."""
    stride: int | None = None
    """Frames of the video from one frame of a clip to the next; None takes the classifier's own."""
    sampling: Sampling | None = None
    """stride: windows of frames `stride` apart. segments: frames spread over the whole video. None takes the
    classifier's own."""
    batch_size: int = 4
    """Videos in one forward pass, with all their views."""
    num_workers: int = 0
    """Processes that decode ahead; 0 decodes in the calling process, without a time limit."""
    device: str = AUTO
    """auto takes CUDA where it is available."""
    precision: Precision = AUTO
    """auto takes bf16 on a GPU that supports it."""

    def __post_init__(self) -> None:
        check_plain(self)
        counts = ("top", "temporal_views", "spatial_views", "stride", "batch_size")
        check_intervals(self, **dict.fromkeys(counts, "[1, inf)"), num_workers="[0, inf)")

    def views_of(self, head: HeadConfig) -> Views:
        """Return the views of each video: these settings, else the classifier's own."""
        return Views(self.temporal_views or head.temporal_views, self.spatial_views or head.spatial_views)

    def clips_of(self, head: HeadConfig, root: str) -> ClipConfig:
        """Return the settings of the clips of a list in the folder `root`."""
        return ClipConfig(
            data="list",
            root=root,
            split="validation",
            index="none",
            stride=self.stride or head.stride,
            sampling=self.sampling or head.sampling,
            published_views=head.published_views,
            antialias=head.antialias,
            pixel_aspect=head.pixel_aspect,
            num_workers=self.num_workers,
            max_broken=1.0,
        )


@dataclass(frozen=True)
class Prediction:
    """The classes of one video."""

    video: Path
    top: tuple[tuple[str, float], ...] = ()
    """The most probable classes with their probabilities, in falling order; () for a video that cannot be read."""

    @property
    def broken(self) -> bool:
        """Whether the video could not be read."""
        return not self.top


def predict(config: PredictConfig) -> Iterator[Prediction]:
    """Yield the prediction of each video; one that cannot be read is also logged.

    Raises:
        FileNotFoundError: If a path does not exist, or no file is a video.
        ValueError: If no path is given, or there is nothing at the classifier's.
        CheckpointError: If the classifier is damaged, or there is none.
        VideoReadError: If no video can be read.
    """
    if not config.videos:
        raise ValueError("videos must name at least one file or folder, got none")
    paths = find_videos(config.videos)
    if not Path(config.classifier).expanduser().exists():
        raise ValueError(f"classifier must be a path that exists, got {config.classifier!r}")
    source = EncoderSource.find(config.classifier)
    device = resolve_device(config.device)
    model = source.build_classifier().to(device).eval()
    assert source.head is not None
    views = config.views_of(source.head.config)
    with tempfile.TemporaryDirectory() as folder:
        write_list(
            VideoList(tuple(Video(path, 0) for path in paths), ("0",), 0), Path(folder, LIST_FILES["validation"])
        )
        clips = config.clips_of(source.head.config, folder)
        stream = ClipStream(clips, frames=source.grid.frames, size=source.grid.size, seed=0)
        batches = stream.each(range(len(paths)), config.batch_size, temporal=views.temporal, spatial=views.spatial)
        try:
            for batch in batches:
                rows = class_probabilities(model, batch.pixels.to(device), views, config.precision).cpu()
                rows_by_id = dict(zip(batch.ids[:: views.count].tolist(), rows, strict=True))
                for id_ in sorted([*rows_by_id, *batch.missing]):
                    top = _top(rows_by_id[id_], source.head.classes, config.top) if id_ in rows_by_id else ()
                    yield Prediction(paths[id_], top)
        finally:
            stream.close()


def _top(probabilities: Tensor, classes: tuple[str, ...], count: int) -> tuple[tuple[str, float], ...]:
    values, ids = probabilities.topk(min(count, len(classes)))
    return tuple((classes[id_], value) for value, id_ in zip(values.tolist(), ids.tolist(), strict=True))
