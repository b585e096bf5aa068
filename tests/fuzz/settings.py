"""Settings as runs keep them: read back unchanged, or refused by the setting's name."""

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.finetune.config import FinetuneConfig
from tests.fuzz.mutators import JSON, Mutation
from tests.fuzz.target import READ, Target, expect, refused


@cache
def _names(kind: Any) -> set[str]:
    """Return the names of all settings in a dataclass and its parts."""
    hints = get_type_hints(kind)
    parts = [hint for hint in hints.values() if is_dataclass(hint)]
    return {kind.__name__, *hints, *(name for part in parts for name in _names(part))}


def setting_names() -> set[str]:
    """Return the names of all settings of a run."""
    return _names(PretrainConfig)


def make_pretraining(root: Path) -> None:
    """Write the settings of all presets."""
    for name, preset in PRESETS.items():
        (root / f"{name}.json").write_text(json.dumps(preset.as_dict(), indent=1), encoding="utf-8")


def make_finetuning(root: Path) -> None:
    """Write the settings of a fine-tuning."""
    text = json.dumps(FinetuneConfig(encoder="tiny").as_dict(), indent=1)
    (root / "finetune.json").write_text(text, encoding="utf-8")


def check(kind: Any, build: Callable[[dict[str, Any]], Any], root: Path, file: Path) -> str:
    """Build settings from a file's values, if it is JSON at all."""
    try:
        values = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return "no JSON"
    try:
        config = build(values)
    except (TypeError, ValueError) as err:
        return refused(err, (TypeError, ValueError), *_names(kind))
    check_types(config)
    expect(build(json.loads(json.dumps(config.as_dict()))) == config, "what is written of it is read as something else")
    return READ


def check_types(config: Any) -> None:
    """Raise Fault unless each value is of one of the types in the field's annotation, and mappings are JSON's."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            check_types(value)
            continue
        if isinstance(value, dict):  # the settings of an agent, whose types only its builder knows
            expect(json.loads(json.dumps(value)) == value, f"{field.name} is {value!r}, which JSON does not hold")
            continue
        names = _leaf_names(type(config))[field.name]
        for each in value if isinstance(value, tuple) else (value,):
            expect(type(each).__name__ in names, f"{field.name} is {each!r}, and not one of {sorted(names)}")


@cache
def _leaf_names(kind: Any) -> dict[str, set[str]]:
    """Return the names of the types that each field's annotation is made of; a choice counts as its own type."""
    names = {}
    for name, hint in get_type_hints(kind).items():
        leaves = {each.__name__ if isinstance(each, type) else type(each).__name__ for each in _leaves(hint)}
        names[name] = leaves | {"int"} if "float" in leaves else leaves
    return names


def _leaves(hint: Any) -> list[Any]:
    """Return the types and choices that make up an annotation."""
    arguments = get_args(hint)
    return [leaf for argument in arguments for leaf in _leaves(argument)] if arguments else [hint]


def _json(name: str) -> tuple[Mutation, ...]:
    return JSON


TARGETS = [
    Target(
        "config",
        make_pretraining,
        partial(check, PretrainConfig, PretrainConfig.from_dict),
        ["*.json"],
        _json,
        share=5,
    ),
    Target(
        "finetune-config",
        make_finetuning,
        partial(check, FinetuneConfig, FinetuneConfig.from_dict),
        ["*.json"],
        _json,
        share=2,
    ),
]
