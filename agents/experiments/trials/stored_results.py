"""Results that are kept in files, so that work that was stopped goes on: each beside the inputs that it came from."""

import json
from pathlib import Path
from typing import Any

from tats_gym.files.atomic import write_whole


def kept(path: Path, of: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result in a file if it was measured from the same inputs, else None."""
    if not path.is_file():
        return None
    before = json.loads(path.read_text())
    found: dict[str, Any] | None = before["found"] if before["of"] == json.loads(json.dumps(of)) else None
    return found


def keep(path: Path, of: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Write a result and its inputs, and return the result."""
    write_whole(path, json.dumps({"of": of, "found": found}))
    return found
