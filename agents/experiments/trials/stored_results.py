"""Results stored beside the inputs that they were measured from, so that work that was stopped goes on."""

import json
from pathlib import Path
from typing import Any

from tats_gym.files.atomic import write_whole

OLDER_NAMES = {"of": "inputs", "found": "result"}
"""Names in files of older versions."""


def read_result(path: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result in a file, None if there is none or it was measured from other inputs."""
    if not path.is_file():
        return None
    stored = {OLDER_NAMES.get(name, name): value for name, value in json.loads(path.read_text()).items()}
    result: dict[str, Any] | None = stored["result"] if stored["inputs"] == json.loads(json.dumps(inputs)) else None
    return result


def store_result(path: Path, inputs: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Write a result and its inputs, and return the result."""
    write_whole(path, json.dumps({"inputs": inputs, "result": result}))
    return result
