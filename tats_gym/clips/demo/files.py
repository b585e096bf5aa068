"""Files of the demo dataset: its videos, written once in the layout of Something-Something v2."""

import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from tats_gym.clips.demo.drawing import Bytes
from tats_gym.clips.demo.scenes import DEMO_CLASSES, DEMO_VERSION, FPS, DemoClip, render_demo_clip
from tats_gym.clips.paths import data_root
from tats_gym.files.atomic import make_folder
from tats_gym.files.messages import shown
from tats_gym.files.text import parse_json

__all__ = ["DEMO_CLASSES", "DemoClip", "demo_data_of", "demo_root", "make_demo_data", "render_demo_clip"]

VIDEO_FOLDER = "20bn-something-something-v2"
LABEL_FOLDER = "labels"
GENERATOR_FILE = "generator.json"
"""Records the generator's version and the number of clips; a folder without it is not a demo set."""

TRAIN_CLIPS, VALIDATION_CLIPS = 600, 96

MIN_BIT_RATE = 1_000
"""Lowest bit rate: the encoder counts in thousands, and at 0 it writes a video without frames."""

FIRST_ID = {"train": 100_000, "validation": 200_000}
"""Id of the first clip of each split; a clip's id is this plus its index."""

logger = logging.getLogger(__name__)


def demo_root() -> Path:
    """The default folder: demo-v2 (the generator's version) under $TATS_GYM_DATA, else under the user's cache."""
    return data_root(f"demo-v{DEMO_VERSION}")


def demo_data_of(train: int, validation: int) -> Path:
    """Make a demo set of this size beside the default one, unless it exists; return its folder."""
    root = data_root(f"demo-v{DEMO_VERSION}-{train}-{validation}")
    return make_demo_data(root, train=train, validation=validation)


def make_demo_data(
    root: Path | None = None,
    *,
    train: int | None = None,
    validation: int | None = None,
    workers: int = 2,
) -> Path:
    """Render and encode the demo set unless it exists; return its folder.

    The set is written beside `root` and renamed into place when it is complete, so that no reader sees an incomplete
    one. Several processes may call this at once: the first to finish wins.

    Args:
        root: Folder of the set, by default `demo_root()`.
        train: Number of training clips; by default that of the existing set, or `TRAIN_CLIPS`.
        validation: Number of validation clips; by default that of the existing set, or `VALIDATION_CLIPS`.
        workers: Threads; NumPy and the encoder release the interpreter lock for most of the time.

    Raises:
        FileExistsError: If `root` holds other files, for example a demo set of another version or size.
    """
    root = demo_root() if root is None else Path(root)
    asked = {split: n for split, n in (("train", train), ("validation", validation)) if n is not None}
    if min([workers, *asked.values()]) < 1:
        raise ValueError(f"train, validation and workers must be at least 1, got {train}, {validation}, {workers}")
    if _is_demo_set(root, asked):
        return root
    counts = {"train": TRAIN_CLIPS, "validation": VALIDATION_CLIPS} | asked
    make_folder(root.parent)
    partial = root.parent / f".{root.name}.{uuid.uuid4().hex}"
    try:
        _write(partial, counts, workers)
        _move_into_place(partial, root, counts)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _is_demo_set(root: Path, asked: dict[str, int]) -> bool:
    """Whether `root` holds a demo set of this size; False if it is absent or empty, an error for other content."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    generator = root / GENERATOR_FILE
    if not generator.is_file():
        raise FileExistsError(f"{root} should be absent, empty or a demo set, but has no {GENERATOR_FILE}")
    wanted = {"version": DEMO_VERSION} | asked
    try:
        found = parse_json(generator.read_bytes(), str(generator))
    except ValueError as err:
        raise FileExistsError(f"{root} should hold the demo set {wanted}, but {err}; delete it") from err
    counted = isinstance(found, dict) and all(type(found.get(name)) is int for name in ("train", "validation"))
    if not counted or any(found.get(name) != value for name, value in wanted.items()):
        raise FileExistsError(
            f"{root} should hold the demo set {wanted}, but holds {shown(found)}; choose another folder"
        )
    promised = found["train"] + found["validation"]
    videos = sum(1 for _ in (root / VIDEO_FOLDER).glob("*.webm"))
    if videos != promised:
        raise FileExistsError(f"{root} should hold {promised} videos, but holds {videos}; delete it")
    return True


def _move_into_place(partial: Path, root: Path, counts: dict[str, int]) -> None:
    """Rename the set, unless another process has written the same one."""
    try:
        partial.rename(root)
    except OSError:
        if not _is_demo_set(root, counts):
            raise
        logger.info("another process wrote %s in the meantime", root)


def _write(folder: Path, counts: dict[str, int], workers: int) -> None:
    """Write the whole set into a new folder."""
    videos, labels = folder / VIDEO_FOLDER, folder / LABEL_FOLDER
    videos.mkdir(parents=True)
    labels.mkdir()
    logger.info("making %d demo videos for %s", sum(counts.values()), folder.parent)
    for split, count in counts.items():
        _write_json(labels / f"{split}.json", list(_write_split(videos, split, count, workers)))
    classes = {_without_brackets(template): str(label) for label, template in enumerate(DEMO_CLASSES)}
    _write_json(labels / "labels.json", classes)
    _write_json(labels / "test.json", [])
    _write_json(folder / GENERATOR_FILE, {"version": DEMO_VERSION} | counts)


def _write_split(videos: Path, split: str, count: int, workers: int) -> Iterator[dict[str, object]]:
    """Write one split's videos; yield their entries in the format of Something-Something."""

    def write_one(index: int) -> dict[str, object]:
        clip = render_demo_clip(split, index)
        name = str(FIRST_ID[split] + index)
        encode(videos / f"{name}.webm", clip.frames)
        return _entry(name, clip)

    with ThreadPoolExecutor(workers) as pool:
        for done, entry in enumerate(pool.map(write_one, range(count)), start=1):
            if done % 100 == 0 or done == count:
                logger.info("%s: %d of %d", split, done, count)
            yield entry


def _entry(name: str, clip: DemoClip) -> dict[str, object]:
    return {"id": name, "label": clip.text, "template": clip.template, "placeholders": clip.placeholders}


def _without_brackets(template: str) -> str:
    """Return a template without brackets, as in labels.json."""
    return template.replace("[", "").replace("]", "")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def encode(path: Path, frames: Bytes, *, fps: int | Fraction = FPS, bit_rate: int = 500_000) -> None:
    """Encode RGB frames (T, H, W, 3) as WebM with VP8, at small sizes twice as fast as VP9.

    Args:
        path: The file; it is overwritten.
        frames: Frames of even height and width.
        fps: Frames per second.
        bit_rate: Target in bits per second; the encoder gets at least `MIN_BIT_RATE`.
    """
    import av  # takes a moment, and listing the dataset does not need it

    options = {"deadline": "realtime", "cpu-used": "16"}
    with av.open(path, "w") as container:
        stream = container.add_stream("libvpx", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = max(MIN_BIT_RATE, bit_rate)
        stream.thread_count = 1  # clips are encoded in parallel
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
