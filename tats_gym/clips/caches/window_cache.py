"""A disk cache of decoded windows: after the first epoch, they are read without decoding."""

import hashlib
import io
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.readers import source_status, split_span
from tats_gym.files.atomic import delete_abandoned

logger = logging.getLogger(__name__)

MIN_FREE_SHARE = 0.05
"""Share of the disk that stays free."""
CHECKSUM_BYTES = 4
"""Size of a checksum in bytes."""
PARTIAL_FOLDER = ".partial"
"""Subfolder of the files that are being written."""


class WindowCache:
    """Stores decoded windows of frames, one file each; any number of processes and runs can share it.

    A file is written whole or not at all, and ends with a CRC-32 of its content. Once the disk is nearly full or cannot
    be written, no file is added. Windows of a changed video or another reader have files of their own; old files are
    for the user to delete.

    Args:
        folder: Folder of the windows; created if missing.
        windows: Windows per video.
        frames: Frames in a window, T.
        made_with: All else that determines the pixels of a window, such as the library that decodes.
    """

    def __init__(self, folder: Path, windows: int, frames: int, *made_with: object) -> None:
        self.folder, self.windows, self.frames, self._made_with = folder, windows, frames, made_with
        self._disk_full = self._cleaned = False

    def get(self, path: Path, which: int, decode: Callable[[float], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return a window (T, H, W, C) of a video, from the disk or else from `decode`.

        Args:
            path: Path of the video, or of a segment of one.
            which: Number of the window, in [0, windows).
            decode: Decodes the window at a place in [0, 1); the places are evenly spaced, with a shift that depends on
                the video.

        Raises:
            VideoReadError: If the video cannot be reached, or `decode` raised it.
        """
        status = source_status(split_span(path)[0])
        facts = (os.fsencode(path), status.st_size, status.st_mtime_ns, self.windows, self.frames, *self._made_with)
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=16)
        file_path = self.folder / digest.hexdigest()[:2] / f"{digest.hexdigest()[2:]}-{which}.npy"
        window = self._load(file_path)
        if window is not None:
            return window
        shift = int.from_bytes(digest.digest()[:4], "big") / 2**32
        window = decode((which + shift) / self.windows)
        if not self._disk_full:
            self._store(window, file_path)
        return window

    def _load(self, file_path: Path) -> NDArray[np.uint8] | None:
        """Return a window from the disk; None if it is missing or damaged, and has to be decoded again."""
        with suppress(OSError, ValueError):
            content: Any = np.memmap(file_path, np.uint8, mode="r")
            if zlib.crc32(content[:-CHECKSUM_BYTES]) == int.from_bytes(content[-CHECKSUM_BYTES:].tobytes(), "little"):
                window: NDArray[np.uint8] = np.load(file_path, mmap_mode="c", allow_pickle=False)
                return window
        return None

    def _store(self, window: NDArray[np.uint8], file_path: Path) -> None:
        content = io.BytesIO()
        np.save(content, window, allow_pickle=False)
        try:
            file_path.parent.mkdir(parents=True, exist_ok=True)
            disk = shutil.disk_usage(file_path.parent)
            if disk.free - window.nbytes < MIN_FREE_SHARE * disk.total:
                raise OSError(f"the disk is {1 - MIN_FREE_SHARE:.0%} full")
            partial = self._partial_folder() / uuid.uuid4().hex
            try:
                with partial.open("xb") as file:
                    file.write(content.getbuffer())
                    file.write(zlib.crc32(content.getbuffer()).to_bytes(CHECKSUM_BYTES, "little"))
                partial.replace(file_path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as err:
            self._disk_full = True
            logger.warning("no more windows are stored in %s: %s", self.folder, err)

    def _partial_folder(self) -> Path:
        """Return the folder of unfinished files; the first call deletes those of killed processes."""
        partials = self.folder / PARTIAL_FOLDER
        if not self._cleaned:
            partials.mkdir(exist_ok=True)
            delete_abandoned(partials.iterdir())
            self._cleaned = True
        return partials
