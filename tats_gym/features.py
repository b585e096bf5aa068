"""Features of a split's clips, pooled over tokens: computed once, and kept on the disk."""

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from einops import rearrange, reduce
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from tats_gym.clips import ClipBatch, ClipConfig, ClipStream, VideoList, VideoReadError, data_root
from tats_gym.encoder import VideoEncoder
from tats_gym.precision import Precision, autocast, resolve_device, resolve_precision

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the files; it grows when a feature of the same key would come out otherwise."""
PART = 2048
"""Clips after which what is done is saved."""

Pool = Literal["mean", "frames", "tokens"]
POOLS: Mapping[Pool, Callable[[Tensor, tuple[int, int, int]], Tensor]] = MappingProxyType(
    {
        "mean": lambda tokens, _: tokens.mean(1),
        "frames": lambda tokens, grid: reduce(tokens, "b (t n) d -> b (t d)", "mean", t=grid[0]),
        "tokens": lambda tokens, _: rearrange(tokens, "b l d -> b (l d)"),
    }
)
"""Tokens (B, L, D) and the grid's (t, h, w) to one vector a clip: (B, D), (B, t * D), (B, L * D)."""

IMMATERIAL = (
    *("root", "split", "fold", "subset", "subset_seed", "index"),
    *("num_workers", "time_limit_s", "memory_limit_mib", "max_broken", "cache_mib", "cache_dir"),
)
"""Settings of the clips that change no feature but through the list of videos."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """What a clip's feature is, and how it is computed."""

    pool: Pool = "mean"
    """mean: over all tokens, (D,). frames: over the tokens of each time, (t * D,), so that their order is kept.
    tokens: none, (L * D,), for small clips."""
    passes: int = 0
    """Passes over the videos, each with a window and a crop of its own, as training cuts them. 0: the centre view."""
    seed: int = 0
    """Of windows and crops; without effect on the centre view."""
    batch_size: int = 32
    """Clips in one forward pass."""
    device: str = "auto"
    """auto takes CUDA where it is present."""
    precision: Precision = "auto"
    """auto takes bf16 on a GPU that has it; features are kept in float32."""
    cache: str | None = None
    """Folder of the features; None: `features` beside the datasets, see `data_root`."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise ValueError(f"pool must be one of {tuple(POOLS)}, got {self.pool!r}")
        for name, least in {"passes": 0, "seed": 0, "batch_size": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Features:
    """What an encoder makes of a split."""

    values: Tensor
    """(V, N, D) float32: V views of N clips; V is 1 for centre views, else the number of passes."""
    labels: Tensor
    """(V, N) int64; -1 where unknown."""
    ids: Tensor
    """(V, N) int64: positions in the list of videos. Each pass has an order of its own."""
    videos: VideoList
    """Of the split."""
    broken: tuple[str, ...]
    """Paths of videos that could not be read. Centre views leave them out, in a pass others take their place."""
    key: str
    """Of all that these numbers depend on."""

    def __len__(self) -> int:
        return self.values.shape[1]


def features_of(encoder: VideoEncoder, clips: ClipConfig, config: FeatureConfig) -> Features:
    """Compute the features of a split, or read them if they were computed before.

    They are found again by a digest of the encoder's weights, architecture and geometry, of what cuts the clips, and
    of the list of videos with their paths and labels; not of the videos' contents. What was done before an interruption
    is not done again.

    Args:
        encoder: Is moved to the device, and put into evaluation mode.
        clips: Which clips; `repeats` must be 1.
        config: What to make of them.

    Raises:
        VideoReadError: More than `clips.max_broken` of the videos cannot be read.
        ValueError: Weights are not finite.
    """
    if clips.repeats != 1:
        raise ValueError(f"repeats must be 1 for features, got {clips.repeats}; views are made by passes")
    grid = encoder.grid
    stream = ClipStream(clips, frames=grid.frames, size=grid.size, seed=config.seed)
    identity = _identity(encoder, stream, config)
    key = blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=16).hexdigest()
    path = data_root("features", config.cache) / f"{clips.data}-{clips.split}-{key}.safetensors"
    try:
        if not path.is_file():
            _compute(encoder, stream, config, path)
        tensors, broken = _read(path)
    finally:
        stream.close()
    return Features(**tensors, videos=stream.videos, broken=broken, key=key)


def weights_digest(encoder: VideoEncoder) -> str:
    """A number that only these weights, under these names, have.

    Raises:
        ValueError: One of them is not finite.
    """
    digest = blake2b(digest_size=16)
    for name, value in sorted(encoder.state_dict().items()):
        if not value.isfinite().all():
            raise ValueError(f"the encoder's weight {name} is not finite")
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _identity(encoder: VideoEncoder, stream: ClipStream, config: FeatureConfig) -> dict[str, object]:
    videos = blake2b(digest_size=16)
    for video in stream.videos.videos:
        videos.update(repr((video.name, str(video.path), video.label)).encode(errors="surrogateescape"))
    grid = encoder.grid
    return {
        "format": FORMAT,
        "weights": weights_digest(encoder),
        "architecture": asdict(encoder.config),
        "grid": [grid.frames, grid.size, grid.tubelet_size, grid.patch_size],
        "clips": {name: value for name, value in asdict(stream.config).items() if name not in IMMATERIAL},
        "videos": videos.hexdigest(),
        "pool": config.pool,
        "passes": config.passes,
        "seed": config.seed if config.passes else None,
        "precision": resolve_precision(config.precision, resolve_device(config.device)),
    }


def _compute(encoder: VideoEncoder, stream: ClipStream, config: FeatureConfig, path: Path) -> None:
    """Write the features, part by part and then in one file."""
    parts = path.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    device = resolve_device(config.device)
    encoder = encoder.to(device).eval()
    total = len(stream) * max(1, config.passes)
    files = {start: parts / f"{start:012d}.safetensors" for start in range(0, total, PART)}
    with tqdm(total=total, desc=f"features of {stream.config.split}", unit="clip", disable=config.quiet) as bar:
        for start, file in files.items():
            stop = min(start + PART, total)
            if not file.is_file():
                rows, labels, ids = [], [], []
                broken: list[str] = []
                for batch in _batches(stream, start, stop, config, broken):
                    with torch.inference_mode(), autocast(config.precision, device):
                        tokens = encoder(batch.pixels.to(device))  # (B, L, D)
                        rows.append(POOLS[config.pool](tokens.float(), encoder.grid.shape).cpu())
                    labels.append(batch.labels)
                    ids.append(batch.ids)
                    bar.update(len(batch.ids))
                _write(file, {"values": rows, "labels": labels, "ids": ids}, broken)
            bar.update(stop - bar.n)
    read = [_read(file) for file in files.values()]
    lost = sorted({name for _, broken in read for name in broken})
    if len(lost) > stream.config.max_broken * len(stream):
        raise VideoReadError(
            f"{len(lost)} of {len(stream)} videos could not be read, more than max_broken {stream.config.max_broken}; "
            f"the first: {lost[0]}. Check them with scripts/prepare_data.py verify"
        )
    views = max(1, config.passes)
    joined = {name: torch.cat([tensors[name] for tensors, _ in read]) for name in ("values", "labels", "ids")}
    _write(path, {name: [each.unflatten(0, (views, -1))] for name, each in joined.items()}, lost)
    for file in files.values():
        file.unlink()
    parts.rmdir()


def _batches(
    stream: ClipStream, start: int, stop: int, config: FeatureConfig, broken: list[str]
) -> Iterator[ClipBatch]:
    """Clips from `start` up to `stop` of all passes; the paths of unreadable videos are added to `broken`."""
    starts = range(start, stop, config.batch_size)
    if not config.passes:
        yield from (_centre(stream, range(i, min(i + config.batch_size, stop)), broken) for i in starts)
        return
    stream.seek(start)
    before = set(stream.broken)
    for i in starts:
        yield stream.take(min(config.batch_size, stop - i))
    broken.extend(set(stream.broken) - before)


def _centre(stream: ClipStream, ids: range, broken: list[str]) -> ClipBatch:
    """The centre views of those videos that can be read."""
    try:
        return stream.centre(ids)
    except VideoReadError:
        pass
    found = []
    for id_ in ids:
        try:
            found.append(stream.centre([id_]))
        except VideoReadError as err:
            logger.warning("left out: %s", err)
            broken.append(str(stream.videos.videos[id_].path))
    if not found:
        return stream.centre([])
    return ClipBatch(*(torch.cat([getattr(one, name) for one in found]) for name in ("pixels", "ids", "labels")))


def _write(path: Path, tensors: dict[str, list[Tensor]], broken: list[str]) -> None:
    """Write tensors, each given in pieces, whole or not at all."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        whole = {name: torch.cat(pieces).contiguous() for name, pieces in tensors.items()}
        save_file(whole, partial, metadata={"broken": json.dumps(broken)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, tuple(json.loads(file.metadata()["broken"]))
