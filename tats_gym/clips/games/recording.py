"""Records play as a dataset: one class for each environment, training and validation from different seeds."""

import logging
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.augment import crop_and_resize
from tats_gym.clips.datasets.folder_and_list import LIST_FILES
from tats_gym.clips.games.config import RecordConfig
from tats_gym.clips.games.play import Env, Moment, Policy, open_env, play, random_policy
from tats_gym.clips.generated import VIDEO_FOLDER, encode, make_once, write_labels
from tats_gym.datasets import TRAIN_VALIDATION, Split
from tats_gym.plugs import load_own
from tats_gym.provenance import versions_of

FPS = 15
"""Frames per second at which a video is shown; clips do not depend on it."""

BITS_PER_PIXEL = 3
"""Target of the encoder, under which Pong's ball, of one pixel by two in a frame of 96, keeps .95 of its contrast."""

SHORT_EPISODES = 50
"""Episodes in a row without a video after which the recording ends with an error."""

LOG_INTERVAL_S = 10.0

VERSION = 1
"""Version of the recorder; a change of its videos is a new one."""

logger = logging.getLogger(__name__)


class RecordedVideo(NamedTuple):
    """A video before it is encoded."""

    split: Split
    """Part of the recording."""
    label: int
    """Number of its environment."""
    name: str
    """Name of its file, without the suffix."""
    frames: NDArray[np.uint8]
    """(T, H, W, C)."""
    ram: NDArray[np.uint8] | None
    """(T, 128), of Atari games alone."""


def make_recording(
    root: Path, config: RecordConfig, *, kind: str = "recording", wanted: Mapping[str, Any] | None = None
) -> None:
    """Record a dataset, whole or not at all, unless `root` holds it; see `generated.make_once`.

    Args:
        root: Folder of the dataset.
        config: The settings.
        kind: Noun for the dataset in messages, and its name in generator.json.
        wanted: Settings that generator.json must have for an existing dataset; None takes `kind` and all of `config`.

    Raises:
        FileExistsError: If `root` holds other files, or a recording with other settings.
        ValueError: If an environment cannot be made or drawn, or its episodes are shorter than a video.
    """
    origin = {"generator": kind, "version": VERSION}

    def write(folder: Path) -> dict[str, Any]:
        _record(folder, config)
        return origin | config.as_dict() | {"versions": versions_of("gymnasium", "ale-py", "av")}

    make_once(root, kind, origin | config.as_dict() if wanted is None else wanted, write)


def _record(folder: Path, config: RecordConfig, workers: int = 2) -> None:
    """Write all videos into an empty folder, with SSv2's annotations and the lists that `read_list` reads.

    Threads encode; the play itself is one thread, as environments need not be safe in several.
    """
    videos = folder / VIDEO_FOLDER
    videos.mkdir()
    names: dict[Split, list[tuple[str, int]]] = {split: [] for split in TRAIN_VALIDATION}
    total, start = sum(config.counts.values()), time.monotonic()
    logged = start
    with ThreadPoolExecutor(workers) as pool:
        written = _write_ahead(pool, videos, _play_all(config), config.size, ahead=2 * workers)
        for done, video in enumerate(written, start=1):
            names[video.split].append((video.name, video.label))
            now = time.monotonic()
            if now - logged > LOG_INTERVAL_S or done == total:
                logged, left = now, (now - start) / done * (total - done)
                logger.info("%s: %d of %d videos recorded, about %.0f s left", video.name, done, total, left)
    classes = config.classes
    write_labels(
        folder, classes, {split: [_entry(name, classes[n]) for name, n in each] for split, each in names.items()}
    )
    for split, recorded in names.items():
        lines = (f"{VIDEO_FOLDER}/{name}.webm {label}\n" for name, label in recorded)
        (folder / LIST_FILES[split]).write_text("".join(lines))


def _play_all(config: RecordConfig) -> Iterator[RecordedVideo]:
    """Play every environment for every split; yield its videos in order."""
    for env_id in config.env:  # errors are found before the first one is recorded
        with closing(open_env(env_id, config.arguments())) as env:
            next(play(env, random_policy(env, 0), name=env_id, seed=0, skip=1))
    for label, env_id in enumerate(config.env):
        for split, count in zip(TRAIN_VALIDATION, (config.videos, config.held_out), strict=True):
            yield from _play_one(config, label, env_id, split, count)


def _play_one(config: RecordConfig, label: int, env_id: str, split: Split, count: int) -> Iterator[RecordedVideo]:
    """Play one environment for one split; the seeds do not depend on the other environments."""
    name = config.classes[label]
    seeds = np.random.SeedSequence([config.seed, TRAIN_VALIDATION.index(split), zlib.crc32(name.encode())])
    seed, policy_seed = map(int, seeds.generate_state(2))
    with closing(open_env(env_id, config.arguments())) as env:
        policy = _find_policy(config.policy)(env, policy_seed)
        moments = play(env, policy, name=env_id, seed=seed, skip=config.skip)
        for index, piece in enumerate(islice(cut(moments, config.frames, env_id), count)):
            file = f"{re.sub('[^a-zA-Z0-9_]', '-', name)}-{split}-{index:05d}"
            frames = np.stack([moment.frame for moment in piece])
            rams = [moment.ram for moment in piece if moment.ram is not None]
            yield RecordedVideo(split, label, file, frames, np.stack(rams) if rams else None)


def cut(moments: Iterable[Moment], frames: int, name: str) -> Iterator[list[Moment]]:
    """Cut play into pieces of `frames` moments, none of which spans a reset.

    Args:
        moments: Play, see `play`.
        frames: Length of a piece, T.
        name: Id of the environment, for the message.

    Raises:
        ValueError: If `SHORT_EPISODES` episodes in a row are shorter.
    """
    piece: list[Moment] = []
    short = longest = 0
    for moment in moments:
        if moment.begins:
            short, longest, piece = short + 1, max(longest, len(piece)), []
            if short > SHORT_EPISODES:
                raise ValueError(
                    f"--env {name}: the longest of {SHORT_EPISODES} episodes had {longest} frames, but a video has "
                    f"{frames}, and none spans a reset: take fewer --frames"
                )
        piece.append(moment)
        if len(piece) == frames:
            yield piece
            short, longest, piece = 0, 0, []


def _find_policy(name: str) -> Callable[[Env, int], Policy]:
    """Return the maker of a policy, from the environment and a seed.

    Raises:
        ValueError: If there is none of this name.
    """
    if name == "random":
        return random_policy
    make: Callable[[Env, int], Policy] = load_own(name, "--policy")
    return make


def _write_ahead(
    pool: ThreadPoolExecutor, folder: Path, videos: Iterable[RecordedVideo], size: int, *, ahead: int
) -> Iterator[RecordedVideo]:
    """Write videos in a pool, and yield each in order; at most `ahead` wait in memory."""
    pending: deque[tuple[RecordedVideo, Future[None]]] = deque()

    def first() -> RecordedVideo:
        video, written = pending.popleft()
        written.result()
        return video

    for video in videos:
        pending.append((video, pool.submit(_write, folder, video, size)))
        if len(pending) > ahead:
            yield first()
    while pending:
        yield first()


def _write(folder: Path, video: RecordedVideo, size: int) -> None:
    """Write a video, and the memory (T, 128) at its frames beside it, as NAME.npy."""
    whole = (0, 0, *video.frames.shape[1:3])
    square = crop_and_resize(video.frames, whole, size).permute(1, 2, 3, 0)  # (T, H, W, C)
    bit_rate = BITS_PER_PIXEL * size * size * FPS
    encode(folder / f"{video.name}.webm", square.contiguous().numpy(), fps=FPS, bit_rate=bit_rate)
    if video.ram is not None:
        np.save(folder / f"{video.name}.npy", video.ram)


def _entry(name: str, template: str) -> dict[str, object]:
    return {"id": name, "label": template, "template": template, "placeholders": []}
