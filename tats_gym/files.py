"""Writes a file whole or not at all."""

import uuid
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write under a hidden name and rename, so that no reader ever sees a part of the file.

    Raises:
        OSError: The folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")  # file names need not be UTF-8
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
