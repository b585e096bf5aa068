"""Writes a file or a folder whole or not at all."""

import glob
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tats_gym.messages import first_line

ABANDONED_S = 86_400.0
"""Age at which a partial file counts as left behind by a killed process."""


def make_folder(path: Path) -> None:
    """Make a folder and its parents unless they exist.

    Raises:
        OSError: If it cannot be made; the message gives the reason and the way out.
    """
    with explain_os_errors(path, path):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(path: Path) -> None:
    """Check that a file can be written at a path, before the work whose result it will hold.

    Raises:
        OSError: If it cannot be written; the message gives the reason and the way out.
    """
    make_folder(path.parent)
    with explain_os_errors(path, path.parent):
        partial = _hidden(path)
        partial.touch()
        partial.unlink()


@contextmanager
def explain_os_errors(path: Path, folder: Path) -> Iterator[None]:
    """Re-raise OSErrors of writing a file or a folder with its path, the reason and the way out.

    Args:
        path: The path that the user gave.
        folder: The folder that is made or written into.
    """
    try:
        yield
    except OSError as err:
        reason = err.strerror or str(err)
        file = next((each for each in (folder, *folder.parents) if each.exists() and not each.is_dir()), None)
        if file is not None:
            reason = f"{'it' if file == path else file} is a file, not a folder"
        named = type(err)(f"{path} cannot be written ({reason}); name another place")
        named.strerror = reason
        raise named from err


def write_whole(path: Path, text: str) -> None:
    """Write a text file under a hidden name and rename it, so that readers never see a partial file.

    Raises:
        OSError: If the folder cannot be written.
    """
    with file_written_whole(path) as partial:  # file names need not be UTF-8
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")


@contextmanager
def file_written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden file to write to, which is renamed to `path` on success and deleted on an error.

    Raises:
        OSError: If the folder cannot be written.
    """
    partial = _hidden(path)
    with explain_os_errors(path, path.parent):
        partial.touch()
    try:
        yield partial
        sync_to_disk(partial)
        with explain_os_errors(path, path.parent):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    """Return an unused hidden name beside `path`, and delete the abandoned partial files of `path`."""
    delete_abandoned(path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 32}"))
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def delete_abandoned(paths: Iterable[Path]) -> None:
    """Delete partial files and folders that killed processes left behind."""
    for path in paths:
        with suppress(OSError):  # another process may delete it too
            if path.stat().st_mtime < time.time() - ABANDONED_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def as_os_error(path: Path) -> Iterator[None]:
    """Translate PyTorch's error for a failed write to OSError."""
    try:
        yield
    except RuntimeError as err:
        raise OSError(f"{path} could not be written; the disk may be full: {first_line(err)}") from err


def sync_to_disk(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk, so that they survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def complete_last_line(path: Path) -> None:
    """Add the newline that is missing if the file's writer was killed within a line.

    Raises:
        OSError: If the file cannot be written.
    """
    with path.open("rb+") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


@contextmanager
def folder_written_whole(out: Path) -> Iterator[Path]:
    """Yield a hidden folder to write into, which is renamed to `out` on success and deleted on an error.

    Raises:
        FileExistsError: If `out` exists and is not an empty folder.
        OSError: If the folder cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} must be a new or an empty folder: nothing is written over")
    partial = _hidden(out.absolute())
    with explain_os_errors(out, out):
        partial.mkdir(parents=True)
    try:
        yield partial
        for path in partial.iterdir():
            sync_to_disk(path)
        partial.replace(out)
        sync_to_disk(out.absolute().parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
