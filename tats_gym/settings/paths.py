"""Makes the paths in settings absolute."""

import os
from pathlib import Path
from typing import Any


def absolute(path: str) -> str:
    """Return a path as an absolute one; `~` is the user's home."""
    return str(Path(os.path.expanduser(path)).absolute())


def make_paths_absolute(settings: Any, *names: str) -> None:
    """Make these path fields of frozen settings absolute, so that a run can resume elsewhere; None stays None."""
    for name in names:
        if (path := getattr(settings, name)) is not None:
            object.__setattr__(settings, name, absolute(path))
