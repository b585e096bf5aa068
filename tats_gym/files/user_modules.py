"""Finds modules of users, which lie in their working directory."""

import sys
from pathlib import Path


def find_modules_here() -> None:
    """Let modules of the working directory be imported, as `python -m` does; child processes import them too."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
