"""Files of the demo dataset: its videos, written once in the layout of Something-Something v2."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tats_gym.clips.demo.scenes import DEMO_CLASSES, DEMO_VERSION, FPS, DemoClip, render_demo_clip
from tats_gym.clips.generated import VIDEO_FOLDER, encode, make_once, write_labels
from tats_gym.clips.paths import data_root

TRAIN_CLIPS, VALIDATION_CLIPS = 600, 96

FIRST_ID = {"train": 100_000, "validation": 200_000}
"""Id of the first clip of each split; a clip's id is this plus its index."""

logger = logging.getLogger(__name__)


def demo_root() -> Path:
    """Return the default folder: demo-v2, by the generator's version, under $TATS_GYM_DATA or the user's cache."""
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
    """Render and encode the demo set, whole or not at all, unless it exists; return its folder.

    Args:
        root: Folder of the set, by default `demo_root()`.
        train: Number of training clips; by default that of the existing set, or `TRAIN_CLIPS`.
        validation: Number of validation clips; by default that of the existing set, or `VALIDATION_CLIPS`.
        workers: Threads; NumPy and the encoder release the interpreter lock for most of the time.

    Raises:
        FileExistsError: If `root` holds other files, for example a demo set of another version or size.
        ValueError: If a number is below 1.
    """
    root = demo_root() if root is None else Path(root)
    asked = {split: n for split, n in (("train", train), ("validation", validation)) if n is not None}
    for name, number in {**asked, "workers": workers}.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    counts = {"train": TRAIN_CLIPS, "validation": VALIDATION_CLIPS} | asked
    version = {"version": DEMO_VERSION}

    def write(folder: Path) -> dict[str, int]:
        _write(folder, counts, workers)
        return version | counts

    make_once(root, "demo set", version | asked, write)
    return root


def _write(folder: Path, counts: dict[str, int], workers: int) -> None:
    """Write the whole set into an empty folder."""
    videos = folder / VIDEO_FOLDER
    videos.mkdir()
    splits = {split: list(_write_split(videos, split, count, workers)) for split, count in counts.items()}
    write_labels(folder, [template.replace("[", "").replace("]", "") for template in DEMO_CLASSES], splits)


def _write_split(videos: Path, split: str, count: int, workers: int) -> Iterator[dict[str, object]]:
    """Write one split's videos; yield their entries in the format of Something-Something."""

    def write_one(index: int) -> dict[str, object]:
        clip = render_demo_clip(split, index)
        name = str(FIRST_ID[split] + index)
        encode(videos / f"{name}.webm", clip.frames, fps=FPS)
        return _entry(name, clip)

    with ThreadPoolExecutor(workers) as pool:
        for done, entry in enumerate(pool.map(write_one, range(count)), start=1):
            if done % 100 == 0 or done == count:
                logger.info("%s: %d of %d", split, done, count)
            yield entry


def _entry(name: str, clip: DemoClip) -> dict[str, object]:
    return {"id": name, "label": clip.text, "template": clip.template, "placeholders": clip.placeholders}
