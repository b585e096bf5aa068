"""Generated datasets: folders of encoded videos in the layout of Something-Something V2, written once and whole."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tats_gym.datasets import TRAIN_VALIDATION
from tats_gym.files.atomic import folder_written_whole
from tats_gym.files.text import parse_json
from tats_gym.messages import brief

VIDEO_FOLDER = "20bn-something-something-v2"
LABEL_FOLDER = "labels"
GENERATOR_FILE = "generator.json"
"""Records the settings of the generator and the number of clips; a folder without it was not generated."""

MIN_BIT_RATE = 1_000
"""Lowest bit rate: the encoder counts in thousands, and at 0 it writes a video without frames."""

logger = logging.getLogger(__name__)


def make_once(root: Path, kind: str, wanted: Mapping[str, Any], write: Callable[[Path], Mapping[str, Any]]) -> None:
    """Write a generated dataset unless it exists.

    It is written beside `root` and renamed into place when it is complete, so that no reader sees an incomplete one.
    Several processes may call this at once: the first to finish wins.

    Args:
        root: Folder of the dataset.
        kind: Noun for the dataset in messages, such as "demo set".
        wanted: Settings that an existing dataset must have.
        write: Writes the files into an empty folder; returns all settings, among them `train` and `validation`, the
            numbers of clips.

    Raises:
        FileExistsError: If `root` holds other files, or a dataset with other settings.
    """
    if holds(root, kind, wanted):
        return
    logger.info("making the %s in %s", kind, root)
    try:
        with folder_written_whole(root) as partial:
            write_json(partial / GENERATOR_FILE, write(partial))
    except OSError:
        if not holds(root, kind, wanted):
            raise
        logger.info("another process wrote %s in the meantime", root)


def holds(root: Path, kind: str, wanted: Mapping[str, Any]) -> bool:
    """Whether `root` holds a dataset with these settings; False if it is absent or empty, an error for other content.

    Raises:
        FileExistsError: If `root` holds other files, or a dataset with other settings.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    generator = root / GENERATOR_FILE
    if not generator.is_file():
        raise FileExistsError(f"{root} should be absent, empty or a {kind}, but has no {GENERATOR_FILE}")
    try:
        record = parse_json(generator.read_bytes(), str(generator))
    except ValueError as err:
        raise FileExistsError(f"{root} should hold the {kind} {wanted}, but {err}; delete it") from err
    if not isinstance(record, dict) or any(type(record.get(name)) is not int for name in TRAIN_VALIDATION):
        raise _mismatch(root, kind, wanted, record)
    if differing := {name: value for name, value in wanted.items() if record.get(name) != value}:
        raise _mismatch(root, kind, differing, {name: record.get(name) for name in differing})
    promised = record["train"] + record["validation"]
    videos = sum(1 for _ in (root / VIDEO_FOLDER).glob("*.webm"))
    if videos != promised:
        raise FileExistsError(f"{root} should hold {promised} videos, but holds {videos}; delete it")
    return True


def _mismatch(root: Path, kind: str, wanted: Mapping[str, Any], record: Any) -> FileExistsError:
    return FileExistsError(f"{root} should hold the {kind} {wanted}, but holds {brief(record)}; choose another folder")


def write_labels(root: Path, classes: Sequence[str], splits: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Write the annotations of Something-Something V2.

    Args:
        root: Folder of the dataset, in which `LABEL_FOLDER` is made.
        classes: Templates, without brackets, in the order of their numbers.
        splits: Split to the entry of each of its videos, which has at least `id` and `template`.
    """
    labels = root / LABEL_FOLDER
    labels.mkdir()
    for split, entries in splits.items():
        write_json(labels / f"{split}.json", entries)
    write_json(labels / "labels.json", {name: str(label) for label, name in enumerate(classes)})
    write_json(labels / "test.json", [])


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n")


def encode(path: Path, frames: NDArray[np.uint8], *, fps: int | Fraction, bit_rate: int = 500_000) -> None:
    """Encode RGB frames (T, H, W, C) as WebM with VP8, at small sizes twice as fast as VP9.

    Args:
        path: The file; it is overwritten.
        frames: Frames of even height and width.
        fps: Frames per second.
        bit_rate: Target in bits per second; the encoder gets at least `MIN_BIT_RATE`.
    """
    import av  # takes a moment, and listing the dataset does not need it

    options = {"deadline": "realtime", "cpu-used": "16"}
    with av.open(path, "w", options={"fflags": "bitexact"}) as container:  # without the muxer's random id
        stream = container.add_stream("libvpx", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = max(MIN_BIT_RATE, bit_rate)
        stream.thread_count = 1  # clips are encoded in parallel
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
