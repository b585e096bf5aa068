"""The settings of a run: read from its folder, as the command that repeats it, and the differences between runs."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.requirements import DEFAULTS, resolve_settings
from tats_gym.runs.folder import read_config
from tats_gym.runs.kinds import PRETRAINING

UNPREFIXED = ("clips", "grid")
"""Parts whose settings are named without the part."""
ELSEWHERE = ("out", "quiet", "device", "track")
"""Settings of the place and display of a run, without influence on its results."""


def run_config(folder: Path) -> PretrainConfig:
    """Return the settings that the run in `folder` was started with."""
    return PretrainConfig.from_dict(read_config(folder, PRETRAINING))


def without_paths(value: Any) -> Any:
    """Replace paths of this machine by FOLDER, in text, lists and mappings."""
    if isinstance(value, str):
        return re.sub(r"^(--[^=]*=)?(teacher:)?[/~].*", r"\1\2FOLDER", value)
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    return [without_paths(each) for each in value] if isinstance(value, list | tuple) else value


def command_for(config: PretrainConfig, processes: int = 1) -> str:
    """Return the command line of `tats-gym train` that makes a run with these settings, wherever it is given."""
    program = ["tats-gym"] if processes == 1 else ["torchrun", f"--nproc_per_node={processes}", "-m", "tats_gym"]
    words = [*program, "train", "--env", config.env]
    base = preset_for(config.env)
    if config.own_mae is not None:
        base = replace(base, mae=config.mae)  # no settings of ours are given beside another MAE
    for option in _options(base, as_asked(config), ""):
        words += option
    return shlex.join(words)


def as_asked(config: PretrainConfig) -> PretrainConfig:
    """Return a run's settings as they were asked for: those that its agent takes by itself are left to it."""
    if ":" in config.agent:  # a module, which a word of a file must not run
        return config
    preset = preset_for(config.env)
    try:
        asked = resolve_settings(replace(preset, agent=config.agent), find_agent(config.agent))
    except ValueError:  # an agent of a package that is not here
        return config
    left = {name: getattr(preset, name) for name in DEFAULTS if getattr(asked, name) == getattr(config, name)}
    own, defaults = config.agent_settings, asked.agent_settings
    changed = {name: value for name, value in own.items() if name not in defaults or defaults[name] != value}
    return replace(config, **left, agent_settings=changed)


def _options(base: Any, config: Any, prefix: str) -> Iterator[list[str]]:
    before, now = _parts(base), _parts(config)
    for key, value in now.items():
        if (key in before and before[key] == value) or key in ("env", *ELSEWHERE):
            continue
        name = key.replace("_", "-")
        if is_dataclass(value) or isinstance(value, Mapping):
            yield from _options(before.get(key, {}), value, prefix if key in UNPREFIXED else f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield [f"--{prefix}{name}" if value else f"--{prefix}no-{name}"]
        else:
            values = value if isinstance(value, tuple | list) else (value,)
            yield [f"--{prefix}{name}", *map(str, values)]


def _parts(config: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, or the values of a mapping, by name."""
    return {each.name: getattr(config, each.name) for each in fields(config)} if is_dataclass(config) else dict(config)


def differing(configs: list[PretrainConfig]) -> dict[str, list[Any]]:
    """Return the settings in which runs differ, by their dotted names, with the value of each run."""
    each_flat = [flat(config) for config in configs]
    names = dict.fromkeys(name for settings in each_flat for name in settings)
    values = {name: [settings.get(name) for settings in each_flat] for name in names if _influences(name)}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _influences(name: str) -> bool:
    return name.startswith("agent_settings.") or name.rpartition(".")[2] not in ELSEWHERE


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the settings of a dataclass, and of dataclasses and mappings in it, by their dotted names."""
    values_by_name: dict[str, Any] = {}
    for name, value in _parts(config).items():
        nested = is_dataclass(value) or isinstance(value, Mapping)
        values_by_name |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return values_by_name
