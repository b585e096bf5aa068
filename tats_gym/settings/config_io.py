"""Builds settings from the plain values of JSON files and checkpoints; errors name the field."""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tats_gym.messages import brief, did_you_mean

T = TypeVar("T")

INT64_MAX = 2**63 - 1
"""Largest integer: int64's."""
TYPE_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    None: "null",
}


def from_plain(kind: type[T], values: Any, name: str = "") -> T:
    """Build a dataclass from a mapping of its fields; nested dataclasses from nested mappings.

    Lists become tuples where the field is a tuple. Missing fields take their defaults.

    Args:
        kind: The dataclass.
        values: Its fields.
        name: Its name in messages, such as `tats`; fields are then `tats.n_steps`.

    Raises:
        TypeError: If a field is unknown, missing, or of another type.
        ValueError: If a number is not finite or too large, a text is none of the choices, or the dataclass refuses it.
    """
    whole = name or kind.__name__
    if not isinstance(values, Mapping):
        raise TypeError(f"{whole} must be an object with the fields of {kind.__name__}, got {brief(values)}")
    owner: Any = kind  # type[T] does not say that it is a dataclass
    hints = _hints(owner)
    for key in values:
        if key not in hints:
            raise TypeError(f"{whole} has no field {brief(key)}{did_you_mean(str(key), hints)}")
    lacking = [
        field.name
        for field in fields(owner)
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if lacking:
        raise TypeError(f"{whole} lacks {', '.join(lacking)}")
    prefix = f"{name}." if name else ""
    return kind(**{key: convert(value, hints[key], prefix + key) for key, value in values.items()})


def check_plain(config: Any, name: str = "") -> None:
    """Check that `from_plain` could build this dataclass again from its values.

    Raises:
        TypeError: If a field holds another type.
        ValueError: If a number is not finite or too large, or a text is none of the choices.
    """
    kind: Any = type(config)
    hints = _hints(kind)
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            check_plain(value, f"{name}{field.name}.")
        else:
            convert(value, hints[field.name], name + field.name)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def convert(value: Any, hint: Any, name: str) -> Any:
    """Convert a plain value to the type of its field.

    Raises:
        TypeError: If it is of another type.
        ValueError: If a number is not finite or too large, or a text is none of the choices.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [each for each in arguments if each is not type(None)]
        return convert(value, kinds[0] if len(kinds) == 1 else _joined(kinds), name)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in arguments):
            choices = [str(choice) for choice in arguments]
            near = did_you_mean(str(value), choices)
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {brief(value)}{near}")
        return value
    if origin is tuple:
        return _tuple(value, arguments, name)
    if origin is dict:
        try:
            return _mapping(value, name)
        except RecursionError as err:
            raise ValueError(f"{name} must not be nested so deeply, got {brief(value)}") from err
    if isinstance(hint, type) and is_dataclass(hint):
        return value if isinstance(value, hint) else from_plain(hint, value, name)
    if hint is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    _check(value, hint, name)
    return value


def _joined(choices: list[Any]) -> Any:
    """Return the choices of several Literals as one."""
    return Literal[tuple(value for each in choices for value in get_args(each))]


def _tuple(value: Any, arguments: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a list, got {brief(value)}")
    if arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(value)
    if len(value) != len(arguments):
        raise ValueError(f"{name} must have {len(arguments)} values, got {brief(value)}")
    return tuple(
        convert(each, hint, f"{name}[{i}]") for i, (each, hint) in enumerate(zip(value, arguments, strict=True))
    )


def _mapping(value: Any, name: str) -> dict[str, Any]:
    """Check a mapping of settings whose dataclass is not known, and return it as JSON has it: lists for tuples."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be an object of settings, got {brief(value)}")
    if others := [key for key in value if not isinstance(key, str)]:
        raise TypeError(f"{name} must have text as names, got {brief(others[0])}")
    return {key: _plain(each, f"{name}.{key}") for key, each in value.items()}


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value, name)
    if isinstance(value, list | tuple):
        return [_plain(each, f"{name}[{i}]") for i, each in enumerate(value)]
    if value is None or isinstance(value, bool | str):
        return value
    if not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a number, text, true, false, null, or a list or object of these, got {brief(value)}"
        )
    _check(value, int if isinstance(value, Integral) else float, name)
    return value


def _check(value: Any, kind: Any, name: str) -> None:
    """Raise unless a value is of the field's type: bool, int, float or str."""
    abstract = {int: Integral, float: Real}.get(kind, kind)
    if not isinstance(value, abstract) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} must be {TYPE_NAMES[kind]}, got {brief(value)}")
    if isinstance(value, Integral) and abs(int(value)) > INT64_MAX:
        raise ValueError(f"{name} must lie within 64 bits, got {brief(value)}")
    if isinstance(value, Real) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
