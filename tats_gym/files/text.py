"""Reads text and JSON files of other origin; errors name the file and the line."""

import json
from pathlib import Path
from typing import Any


def read_text(path: Path, *, any_bytes: bool = False) -> str:
    """Read a text file, with or without a byte order mark.

    Args:
        path: The file.
        any_bytes: Accept bytes that are not UTF-8, as in file names; `os.fsencode` restores them.

    Raises:
        ValueError: If it is not UTF-8; the message names the line.
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8", errors="surrogateescape" if any_bytes else "strict")
    except UnicodeDecodeError as err:
        line = 1 + content.count(b"\n", 0, err.start)
        raise ValueError(f"{path}, line {line}: it is not UTF-8 ({err.reason}); save it as UTF-8") from None
    return text.removeprefix("\ufeff")


def parse_json(text: str | bytes, place: str) -> Any:
    """Parse JSON.

    Args:
        text: The JSON.
        place: The file, and the place in it, for messages.

    Raises:
        ValueError: If it is not valid JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{place}: it is not valid JSON (nested too deeply)") from None
    except ValueError as err:
        raise ValueError(f"{place}: it is not valid JSON ({err})") from err
