"""Finds modules of users, which lie in their working directory, and functions in them."""

import importlib
import sys
from pathlib import Path
from typing import Any


def find_modules_here() -> None:
    """Let modules of the working directory be imported, as `python -m` does; child processes import them too."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)


def load_function(path: str, option: str) -> Any:
    """Import `module:function`.

    Args:
        path: The module and the function.
        option: The option that named it, for messages.

    Raises:
        ValueError: If there is none; its cause is the import's own error.
    """
    module, _, function = path.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as err:
        raise ValueError(f"{option}: there is no {function!r} to import from {module!r}: {err}") from err


def load_module(name: str, option: str) -> None:
    """Import a module for its side effects.

    Args:
        name: The module.
        option: The option that named it, for messages.

    Raises:
        ValueError: If it cannot be imported; its cause is the import's own error.
    """
    try:
        importlib.import_module(name)
    except ImportError as err:
        raise ValueError(f"{option}: there is no module {name!r} to import: {err}") from err
