"""Computes and caches the features of a split's clips, pooled over tokens."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from tqdm import tqdm

from tats_gym.clips import ClipBatch, ClipConfig, ClipStream, VideoList, VideoReadError, data_root
from tats_gym.clips.decoder import Views
from tats_gym.encoders.weight_files import read_safetensors, write_safetensors
from tats_gym.files.atomic import file_written_whole, make_folder
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.pooling import POOLS, Pool
from tats_gym.probe.token_source import TokenSource
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.runs.progress import progress_bar
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.precision import AUTO, Precision, autocast, resolve_device, resolve_precision

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the cached features; it grows when the same key would give other values."""
PART_CLIPS = 2048
"""Clips in one file of a computation that is not finished."""

COLUMNS = ("values", "labels", "ids")
"""Fields of `Features` that are tensors."""
CENTRE = Views(1, 1)
"""The centre window and the centre square."""

NOT_IN_KEY = (
    *("root", "split", "fold", "subset", "subset_seed", "index"),
    *("num_workers", "time_limit_s", "memory_limit_mib", "max_broken", "cache_mib", "cache_dir"),
)
"""Settings of the clips outside the key: they change features only through the list of videos."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Pooling of a clip's tokens into a feature, and settings of the forward passes."""

    pool: Pool = "mean"
    """mean: of all tokens, (D,), as in the recipes. Ours: change, the standard deviation over time, averaged over
    places, (D,); frames, the mean of each tubelet, (t * D,), which keeps their order; tokens, all tokens, (L * D,)."""
    batch_size: int = 32
    """Views in one forward pass."""
    device: str = AUTO
    """auto takes CUDA where it is available."""
    precision: Precision = AUTO
    """auto takes bf16 on a GPU that supports it; features are stored in float32."""
    cache: str | None = None
    """Folder of the cached features; None takes `features` beside the datasets, see `data_root`."""
    quiet: bool = False
    """Print a line every ten minutes instead of a progress bar."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, batch_size="[1, inf)")


@dataclass(frozen=True)
class Features:
    """An encoder's features of a split."""

    values: Tensor
    """(R, E, D) float32: R views of E clips, or R passes of one view each."""
    labels: Tensor
    """(R, E) int64; -1 where unknown."""
    ids: Tensor
    """(R, E) int64: indices in the list of videos; fixed views share one order, each pass has its own."""
    videos: VideoList
    """The split's videos."""
    broken: tuple[str, ...]
    """Paths of unreadable videos. Fixed views leave them out; in a pass, other videos replace them."""
    key: str
    """Digest of all inputs of these numbers."""
    tokens: TokenSource | None = None
    """Encodes the clips again, for the probe that reads all of their tokens."""

    def __len__(self) -> int:
        return self.values.shape[1]


@dataclass(frozen=True)
class _ViewPlan:
    """The views of each video."""

    passes: int
    views: Views
    seed: int | None


def features_of(
    encoder: VideoEncoder,
    clips: ClipConfig,
    config: FeatureConfig,
    *,
    views: Views = CENTRE,
    passes: int = 0,
    seed: int = 0,
) -> Features:
    """Compute the features of a split, or read them from the cache.

    The key is a digest of the encoder, of the settings that cut the clips, and of the list of videos with their paths
    and labels, but not of the videos' contents. After an interruption, finished parts are read from the disk.

    Args:
        encoder: The encoder; it is moved to the device, and put into evaluation mode.
        clips: The clips; `repeats` must be 1.
        config: Pooling, forward passes and cache.
        views: Fixed views, see `ClipStream.views`; by default the centre.
        passes: Instead of fixed views, this many passes over the videos, each with a window and a crop drawn as in
            training.
        seed: Seed of these draws.

    Raises:
        VideoReadError: If more than `clips.max_broken` of the videos cannot be read.
        ValueError: If weights are not finite, or both `passes` and several views are given.
    """
    _check_views(clips, views, passes, seed)
    grid = encoder.grid
    stream = ClipStream(clips, frames=grid.frames, size=grid.size, seed=seed)
    plan = _ViewPlan(passes, views, seed if passes else None)
    identity = _identity(encoder, stream, config, plan)
    key = blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=16).hexdigest()
    path = data_root("features", config.cache) / f"{clips.data}-{clips.split}-{key}.safetensors"
    try:
        tensors, broken = _read(path) or _compute(encoder, stream, config, plan, path)
    finally:
        stream.close()
    source = TokenSource(encoder, clips, views, config.batch_size, config.device, config.precision)
    return Features(**tensors, videos=stream.videos, broken=tuple(broken), key=key, tokens=source)


def _check_views(clips: ClipConfig, views: Views, passes: int, seed: int) -> None:
    for name, value in (("passes", passes), ("seed", seed)):
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    if passes and views != CENTRE:
        raise ValueError(f"passes draw one view each: passes must be 0 for {views}, got {passes}")
    if clips.repeats != 1:
        raise ValueError(f"repeats must be 1 for features, got {clips.repeats}; views are made by passes")


def weights_digest(module: nn.Module) -> str:
    """Return a digest of a module's weights and their names.

    Raises:
        ValueError: If one of them is not finite.
    """
    weights = module.state_dict()
    for name, value in weights.items():
        if not value.isfinite().all():
            raise ValueError(f"the weight {name} is not finite")
    return _digest(weights)


def _digest(tensors: Mapping[str, Tensor], words: Sequence[str] = ()) -> str:
    digest = blake2b(json.dumps(words).encode() if words else b"", digest_size=16)
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _identity(encoder: VideoEncoder, stream: ClipStream, config: FeatureConfig, plan: _ViewPlan) -> dict[str, object]:
    videos = blake2b(digest_size=16)
    for video in stream.videos.videos:
        videos.update(repr((video.name, str(video.path), video.label)).encode(errors="surrogateescape"))
    grid = encoder.grid
    return {
        "format": FORMAT,
        "weights": weights_digest(encoder),
        "architecture": asdict(encoder.config),
        "grid": [grid.frames, grid.size, grid.tubelet_size, grid.patch_size],
        "clips": {name: value for name, value in asdict(stream.config).items() if name not in NOT_IN_KEY},
        "videos": videos.hexdigest(),
        "pool": config.pool,
        "look": asdict(plan),  # the key of features that are cached already
        "precision": resolve_precision(config.precision, resolve_device(config.device)),
    }


def _compute(
    encoder: VideoEncoder, stream: ClipStream, config: FeatureConfig, plan: _ViewPlan, path: Path
) -> tuple[dict[str, Tensor], list[str]]:
    """Compute the features, write them part by part, and join the parts in one file."""
    folder = path.with_suffix(".parts")
    make_folder(folder)
    encoder.to(resolve_device(config.device)).eval()
    total = len(stream) * max(1, plan.passes)
    files, parts = [], []
    about = f"features of {stream.config.split}"
    with progress_bar(total=total, desc=about, unit="clip", quiet=config.quiet) as bar:
        for start in range(0, total, PART_CLIPS):
            stop = min(start + PART_CLIPS, total)
            files.append(folder / f"{start:012d}.safetensors")
            part = _read(files[-1])
            if part is None:
                part = _part(encoder, stream, range(start, stop), config, plan, bar)
                _write(files[-1], *part)
            parts.append(part)
            bar.update(stop - bar.n)
    broken = sorted({lost for _, losses in parts for lost in losses})
    if len(broken) > stream.config.max_broken * len(stream) or len(broken) == len(stream):
        raise VideoReadError(
            f"{len(broken)} of {len(stream)} videos could not be read, more than max_broken "
            f"{stream.config.max_broken}; the first: {broken[0]}. Check them with tats-gym prepare verify"
        )
    joined = {name: torch.cat([tensors[name] for tensors, _ in parts if tensors]) for name in COLUMNS}
    passes = max(1, plan.passes)  # one after the other in the rows (R * E, 1, ...); fixed views: (E, R, ...)
    by_view = {name: rearrange(each, "(p n) v ... -> (p v) n ...", p=passes) for name, each in joined.items()}
    _write(path, by_view, broken)
    for file in files:
        file.unlink()
    with suppress(OSError):  # another process computes the same features
        folder.rmdir()
    return by_view, broken


def _part(
    encoder: VideoEncoder, stream: ClipStream, places: range, config: FeatureConfig, plan: _ViewPlan, bar: "tqdm[Any]"
) -> tuple[dict[str, Tensor], list[str]]:
    """Return features, labels and ids (B, R, ...) of the clips at these places, in all passes, and unreadable videos.

    The dict is empty where no clip of the part can be read.
    """
    device = resolve_device(config.device)
    columns: dict[str, list[Tensor]] = {name: [] for name in COLUMNS}
    before = set(stream.broken)
    for batch in filter(len, _batches(stream, places, config.batch_size, plan)):
        with torch.inference_mode(), autocast(config.precision, device):
            tokens = encoder(batch.pixels.to(device))  # (B * R, L, D)
            pooled = POOLS[config.pool](tokens.float(), encoder.grid.shape).cpu()
        for column, each in zip(columns.values(), (pooled, batch.labels, batch.ids), strict=True):
            column.append(each.unflatten(0, (-1, plan.views.count)))
        bar.update(len(batch.ids) // plan.views.count)
    joined = {name: torch.cat(column) for name, column in columns.items() if column}
    return joined, sorted(set(stream.broken) - before)


def _batches(stream: ClipStream, places: range, batch_size: int, plan: _ViewPlan) -> Iterator[ClipBatch]:
    if plan.passes:
        stream.seek(places.start)
        yield from (stream.take(min(batch_size, places.stop - start)) for start in places[::batch_size])
    else:
        videos = max(1, batch_size // plan.views.count)
        temporal, spatial = plan.views.temporal, plan.views.spatial
        yield from stream.each(places, videos, temporal=temporal, spatial=spatial, total=len(stream))


def _write(path: Path, tensors: dict[str, Tensor], broken: list[str]) -> None:
    whole = {name: each.contiguous() for name, each in tensors.items()}
    about = {"broken": broken, "digest": _digest(whole, broken)}
    with file_written_whole(path) as partial:
        write_safetensors(partial, whole, json.dumps(about))


def _read(path: Path) -> tuple[dict[str, Tensor], list[str]] | None:
    """Read features; None where the file is missing, or damaged, which is logged."""
    if not path.is_file():
        return None
    try:
        file = read_safetensors(path)
        broken = file.description.get("broken")
        if not isinstance(broken, list) or file.description.get("digest") != _digest(file.weights, broken):
            raise CheckpointError(f"{path} does not match its digest")
    except CheckpointError as err:
        logger.warning("%s; it is computed again", err)
        return None
    return file.weights, broken
