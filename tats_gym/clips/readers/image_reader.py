"""Reads an image as a video of one frame, and a folder of images as the frames of a video."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tats_gym.clips.readers.video_reader import VideoReadError, check_indices, frame_error
from tats_gym.files.video_files import IMAGE_SUFFIXES


class ImageReader:
    """A `VideoReader` of an image, or of a folder whose images are the frames, ordered by the numbers in their names.

    Args:
        path: The image or the folder.

    Raises:
        VideoReadError: If the folder cannot be read, or holds no image.
    """

    fps = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = [path]
        if path.is_dir():
            try:
                names = [name for name in os.listdir(path) if name.lower().endswith(IMAGE_SUFFIXES)]
            except OSError as err:
                raise VideoReadError(f"{path}: {err.strerror}") from err
            self._files = [path / name for name in sorted(names, key=_by_numbers) if not name.startswith(".")]
        if not self._files:
            raise VideoReadError(f"{path}: the folder holds no image ({' '.join(IMAGE_SUFFIXES)})")

    def __len__(self) -> int:
        return len(self._files)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        frames = {index: self._frame(index) for index in dict.fromkeys(indices)}
        sizes = {frame.shape for frame in frames.values()}
        if len(sizes) > 1:
            raise VideoReadError(f"{self._path}: its images differ in size: {sorted(size[:2] for size in sizes)}")
        return np.stack([frames[index] for index in indices])  # (T, H, W, C)

    def _frame(self, index: int) -> NDArray[np.uint8]:
        """Decode an image (H, W, C) in RGB, turned as its EXIF says."""
        try:
            with Image.open(self._files[index]) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:  # PIL raises them for damage
            raise frame_error(self._files[index], index, len(self), err) from err

    def close(self) -> None:
        """No-op: no file is held open."""


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Order names as people do: frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name)]
