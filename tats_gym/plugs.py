"""Finds the parts that users and other packages plug in: by a name, or as `module:object`."""

import importlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tats_gym.messages import check_choice


def installed(group: str) -> dict[str, str]:
    """Return the parts of installed packages under a group of entry points: name to `module:object`."""
    return _installed(group, tuple(sys.path))


@cache
def _installed(group: str, places: tuple[str, ...]) -> dict[str, str]:
    """Read the entry points of the packages in these places, of which a program may add some while it runs."""
    return {point.name: point.value for point in entry_points(group=group)}


def find_plug(name: str, known: Mapping[str, str], option: str) -> Any:
    """Import a part by its name, or as `module:object` of the user's own.

    Args:
        name: The name.
        known: Names to `module:object`.
        option: The option that gave the name, for messages.

    Raises:
        ValueError: If there is none, with the most similar name; its cause is the import's own error, if there is one.
    """
    if ":" in name:
        return load_own(name, option)
    check_choice(option, name, known)
    return _load(known[name], f"{option} {name}")


def load_own(name: str, option: str) -> Any:
    """Import `module:object` of the user's own, which may lie in the working directory.

    Args:
        name: The module and the object.
        option: The option that gave the name, for messages.

    Raises:
        ValueError: If there is none; its cause is the import's own error.
    """
    find_modules_here()
    return _load(name, f"{option} {name}")


def _load(path: str, option: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as err:
        raise ValueError(f"{option}: there is no {name!r} to import from {module!r}: {err}") from err


def import_own(name: str, option: str) -> None:
    """Import a module of the user's own for its side effects; it may lie in the working directory.

    Args:
        name: The module.
        option: The option that gave the name, for messages.

    Raises:
        ValueError: If it cannot be imported; its cause is the import's own error.
    """
    find_modules_here()
    try:
        importlib.import_module(name)
    except ImportError as err:
        raise ValueError(f"{option}: there is no module {name!r} to import: {err}") from err


def find_modules_here() -> None:
    """Let modules of the working directory be imported, as `python -m` does; child processes import them too."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
