"""Writes a file or a folder whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write under a hidden name and rename, so that no reader ever sees a part of the file.

    Raises:
        OSError: The folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("w", encoding="utf-8", errors="surrogateescape") as file:  # file names need not be UTF-8
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, reach the disk, so that they outlive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def end_line(path: Path) -> None:
    """End the last line of a file if its writer was killed within it, so that the next line is one of its own.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("rb+") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


@contextmanager
def folder_written_whole(out: Path) -> Iterator[Path]:
    """Give a hidden folder to write into, which becomes `out` if no error comes up, and else is deleted.

    Raises:
        FileExistsError: `out` is there and not an empty folder.
        OSError: The folder cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} must be a new or an empty folder: nothing is written over")
    partial = out.absolute().with_name(f".{out.absolute().name}.{uuid.uuid4().hex}")
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in partial.iterdir():
            to_disk(path)
        partial.replace(out)
        to_disk(out.absolute().parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
