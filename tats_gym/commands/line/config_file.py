"""The file of --config: settings as JSON or YAML, laid over a command's defaults; or the config.json of a run."""

import json
import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from tats_gym.messages import brief, did_you_mean
from tats_gym.runs.kinds import Kind, kind_of_settings
from tats_gym.settings.config_io import convert

T = TypeVar("T")

FLOAT = re.compile(r"^[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$")
"""Numbers such as 1e-3, which YAML 1.1 reads as text."""


class ConfigFile:
    """Settings from a file.

    Args:
        path: A .json, .yaml or .yml file: an object of settings, as config.json has them; or a run's config.json.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither JSON nor YAML, or holds no object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        values = _read(path)
        if not isinstance(values, Mapping):
            raise ValueError(f"--config: {path} must hold an object of settings, got {brief(values)}")
        self.from_run = isinstance(values.get("config"), Mapping) and "versions" in values
        """Whether it is the config.json of a run, which holds every setting."""
        self.values: dict[str, Any] = deepcopy(dict(values["config"] if self.from_run else values))
        """The settings; those of parts are mappings in it."""

    def over(self, kind: type[T], default: T | None, without: Collection[str] = ()) -> T:
        """Lay the settings over those of a dataclass.

        The result is for the parser of the command line alone: its guards have not run, and fields that neither has are
        `tyro.MISSING`.

        Args:
            kind: The dataclass.
            default: The settings to lay them over; None takes the fields' own defaults.
            without: Names of settings to leave out.

        Raises:
            TypeError: If a setting is unknown or of another type.
            ValueError: If a text is none of the choices, or a number is too large.
        """
        try:
            values = {name: value for name, value in self.values.items() if name not in without}
            return _laid_over(kind, default, values, "")
        except (TypeError, ValueError) as err:
            raise type(err)(f"--config {self.path}: {err}") from err

    def check_run(self, wanted: Kind) -> None:
        """Raise ValueError if it is the config.json of a run of another kind."""
        kind = kind_of_settings(self.values)
        if self.from_run and kind is not wanted:
            raise ValueError(
                f"--config {self.path} is of {kind.name}, not of {wanted.name}; give it to the command that made it"
            )


def _read(path: Path) -> Any:
    if path.is_dir():
        hint = f"; the settings of its run are in {path / 'config.json'}" if (path / "config.json").is_file() else ""
        raise ValueError(f"--config must name a file, got the folder {path}{hint}")
    if not path.is_file():
        near = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near)
        raise FileNotFoundError(f"--config must name a JSON or YAML file, there is no {path}{hint}")
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"--config must name a .json, .yaml or .yml file, got {path}")
    form, parse = ("JSON", json.loads) if path.suffix == ".json" else ("YAML", _yaml)
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise ValueError(f"--config: {path} is not valid {form}: {err}") from err


def _yaml(text: str) -> Any:
    import yaml  # needed for YAML alone

    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789"))
    try:
        return loader(text).get_single_data()
    except yaml.YAMLError as err:
        raise ValueError(" ".join(str(err).split())) from err


def _laid_over(kind: type[T], default: T | None, values: Mapping[str, Any], prefix: str) -> T:
    """Return the dataclass with these values in place of those of `default`, or of its fields' own defaults."""
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise TypeError(f"there is no setting {prefix}{key}{_hint(str(key), kind)}")
    made = object.__new__(kind)
    owner: Any = kind  # type[T] does not say that it is a dataclass
    for field in fields(owner):
        before = _default(field) if default is None else getattr(default, field.name)
        value, hint = values.get(field.name, before), hints[field.name]
        name = prefix + field.name
        if is_dataclass(hint):
            part_kind: Any = hint
            part = before if is_dataclass(before) else None
            if not isinstance(values.get(field.name, {}), Mapping):
                raise TypeError(f"{name} must be an object of settings, got {brief(value)}")
            value = _laid_over(part_kind, part, values.get(field.name, {}), f"{name}.")
        elif field.name in values:
            value = convert(value, hint, name)
        object.__setattr__(made, field.name, value)
    return made


def _default(field: "Field[Any]") -> Any:
    if field.default is not MISSING:
        return field.default
    return tyro.MISSING if field.default_factory is MISSING else field.default_factory()


def _hint(key: str, kind: Any) -> str:
    """Return where a setting of this name, or one like it, belongs."""
    hints = get_type_hints(kind)
    name = key.replace("-", "_").rpartition(".")[2]
    parts = [part for part, hint in hints.items() if is_dataclass(hint) and name in get_type_hints(hint)]
    if parts:
        return f"; write {name} within {' or '.join(parts)}"
    return did_you_mean(name, hints) or "; --help lists them"
