"""Writes a file or a folder whole or not at all."""

import glob
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tats_gym.files.messages import first_line

ABANDONED_S = 86_400.0
"""After this long without a change, what is half-written is taken to be of a process that was killed."""


def absolute(path: str) -> str:
    """The same place named from any folder: `~` is the user's home, a relative path begins in the present folder."""
    return str(Path(os.path.expanduser(path)).absolute())


def keep_absolute(settings: Any, *names: str) -> None:
    """Make these paths of frozen settings absolute, so that they hold wherever a run goes on; None stays None."""
    for name in names:
        if (path := getattr(settings, name)) is not None:
            object.__setattr__(settings, name, absolute(path))


def make_folder(path: Path) -> None:
    """Make a folder to write into, and those above it; one that is there may stay.

    Raises:
        OSError: It cannot be made; the message says why, and to name another place.
    """
    with explained(path, path):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(path: Path) -> None:
    """Make sure that a file can be written at a path, before the work whose result it will hold.

    Raises:
        OSError: It cannot; the message says why, and to name another place.
    """
    make_folder(path.parent)
    with explained(path, path.parent):
        partial = _hidden(path)
        partial.touch()
        partial.unlink()


@contextmanager
def explained(path: Path, folder: Path) -> Iterator[None]:
    """Have the errors of making a file or a folder name its path, the reason, and the way out.

    Args:
        path: What the user asked for.
        folder: The folder that is made, or written into.
    """
    try:
        yield
    except OSError as err:
        reason = err.strerror or str(err)
        file = next((each for each in (folder, *folder.parents) if each.exists() and not each.is_dir()), None)
        if file is not None:
            reason = f"{'it' if file == path else file} is a file, not a folder"
        told = type(err)(f"{path} cannot be written ({reason}); name another place")
        told.strerror = reason
        raise told from err


def write_whole(path: Path, text: str) -> None:
    """Write under a hidden name and rename, so that no reader ever sees a part of the file.

    Raises:
        OSError: The folder cannot be written.
    """
    with file_written_whole(path) as partial:  # file names need not be UTF-8
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")


@contextmanager
def file_written_whole(path: Path) -> Iterator[Path]:
    """Give a hidden name to write a file under, which becomes `path` if no error comes up, and else is deleted.

    Raises:
        OSError: The folder cannot be written.
    """
    partial = _hidden(path)
    with explained(path, path.parent):
        partial.touch()
    try:
        yield partial
        to_disk(partial)
        with explained(path, path.parent):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    """Return a name beside `path` that nobody has; those like it that were abandoned are deleted."""
    delete_abandoned(path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 32}"))
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def delete_abandoned(paths: Iterable[Path]) -> None:
    """Delete those files and folders that killed processes left half-written."""
    for path in paths:
        with suppress(OSError):  # others delete it too
            if path.stat().st_mtime < time.time() - ABANDONED_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise OSError where PyTorch or safetensors cannot write a file, which they say in errors of their own."""
    try:
        yield
    except (RuntimeError, SafetensorError) as err:
        raise OSError(f"{path} could not be written; the disk may be full: {first_line(err)}") from err


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
    partial = _hidden(out.absolute())
    with explained(out, out):
        partial.mkdir(parents=True)
    try:
        yield partial
        for path in partial.iterdir():
            to_disk(path)
        partial.replace(out)
        to_disk(out.absolute().parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
