"""Reads text and JSON that people and other programs wrote, and says which file, and where in it, is none."""

import json
from pathlib import Path
from typing import Any


def read_text(path: Path, *, any_bytes: bool = False) -> str:
    """Read a text file, with or without a byte order mark.

    Args:
        path: The file.
        any_bytes: Let bytes that are no UTF-8 through, as file names may hold them: `os.fsencode` gives them back.

    Raises:
        ValueError: It is not UTF-8; the message names the line.
        OSError: It cannot be read.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8", errors="surrogateescape" if any_bytes else "strict")
    except UnicodeDecodeError as err:
        line = 1 + content.count(b"\n", 0, err.start)
        raise ValueError(f"{path}, line {line}: it is not UTF-8 ({err.reason}); save it as UTF-8") from None
    return text.removeprefix("\ufeff")


def parse_json(text: str | bytes, place: str) -> Any:
    """Read JSON.

    Args:
        text: The JSON.
        place: Where it was found, for the message.

    Raises:
        ValueError: It is none, or nested deeper than a program takes.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(
            f"{place}: it is not valid JSON that can be read (brackets within brackets too deep)"
        ) from None
    except ValueError as err:
        raise ValueError(f"{place}: it is not valid JSON ({err})") from err
