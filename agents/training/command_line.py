"""Command lines: exit codes and error messages of scripts, the command that repeats a run, and its settings."""

import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.requirements import DEFAULTS, settled
from tats_gym.clips import VideoReadError
from tats_gym.clips.workers.supervisor import WorkerError
from tats_gym.files.messages import first_line
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.runs.parallel_jobs import ProcessDiedError
from tats_gym.runs.work_queue import WorkFailedError
from tats_gym.train.memory import out_of_memory
from tats_gym.train.nonfinite import NonFiniteError
from tats_gym.train.signals import StoppedError, exit_code_of, interrupt_on_system_signals

EXPLAINED = (
    ValueError, TypeError, OSError, CheckpointError, VideoReadError, WorkerError, NonFiniteError,
    ProcessDiedError, WorkFailedError, ModuleNotFoundError,
)  # fmt: skip
"""Errors whose message suffices for a user; they are printed without a traceback."""
UNPREFIXED = ("clips", "grid")
"""Parts whose settings are named without the part."""
ELSEWHERE = ("out", "quiet", "device")
"""Settings of the place and display of a run, without influence on its results."""


def exit_code(
    run: Callable[[], int | None],
    how_to_go_on: str = "give the same command again to go on",
    how_to_take_less: str = "take fewer clips at once, or a smaller model",
) -> int:
    """Run, and return the exit code: that of `run`, or 0; 1 after an error, which is printed.

    After a stop it is that of `tats_gym.train.signals`. Errors that are not in `EXPLAINED` are raised.

    Args:
        run: The script's work.
        how_to_go_on: Advice that is printed after a stop.
        how_to_take_less: Advice that is printed where memory does not suffice.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        with interrupt_on_system_signals():
            return run() or 0
    except StoppedError as err:
        print(f"stopped: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt as stop:
        print(f"stopped; {how_to_go_on}", file=sys.stderr)
        return exit_code_of(stop)
    except EXPLAINED as err:
        print(f"error: {_said(err)}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as err:
        if not out_of_memory(err):
            raise
        print(f"error: memory does not suffice ({first_line(err)}); {how_to_take_less}", file=sys.stderr)
        return 1


def _said(err: Exception) -> str:
    """Return an error's message; of the system's own, the file before the reason, without the number."""
    return f"{err.filename}: {err.strerror}" if isinstance(err, OSError) and err.filename else str(err)


def check_reserved(base: PretrainConfig, preset: PretrainConfig, instead: Mapping[str, str]) -> None:
    """Refuse settings of a run that a script for many runs makes itself.

    Args:
        base: The settings that were asked for.
        preset: Those that were offered.
        instead: Names of such settings, with the option to use in their place.

    Raises:
        ValueError: If one was changed.
    """
    for name, option in instead.items():
        part, _, field = name.rpartition(".")
        value, offered = (getattr(getattr(each, part) if part else each, field) for each in (base, preset))
        if value != offered:
            flag = field if part in UNPREFIXED else f"base.{name}"
            raise ValueError(f"--{flag.replace('_', '-')} is not to be given here, got {value!r}; use {option}")


def without_paths(value: Any) -> Any:
    """Replace paths of this machine by FOLDER, in text, lists and mappings."""
    if isinstance(value, str):
        return re.sub(r"^(--[^=]*=)?[/~].*", r"\1FOLDER", value)
    if isinstance(value, dict):
        return {key: without_paths(each) for key, each in value.items()}
    return [without_paths(each) for each in value] if isinstance(value, list | tuple) else value


def command_for(config: PretrainConfig, processes: int = 1) -> str:
    """Return the command line of `train_ppo.py` that makes a run with these settings, wherever it is given."""
    launcher = ["python"] if processes == 1 else ["torchrun", f"--nproc_per_node={processes}"]
    words = [*launcher, "scripts/train_ppo.py", "--env", config.env]
    for option in _options(_preset(config), config, ""):
        words += option
    return shlex.join(words)


def _preset(config: PretrainConfig) -> PretrainConfig:
    """Return the preset of the run's environment; settings left to the agent are the run's, where they fit it."""
    preset = preset_for(config.env)
    if ":" in config.agent:  # a module, which a word of a file must not run
        return preset
    own = {name: getattr(config, name) for name in DEFAULTS}
    try:
        asked = settled(replace(preset, agent=config.agent), find_agent(config.agent))
    except ValueError:  # an agent of a package that is not here
        return preset
    return replace(preset, **{name: value for name, value in own.items() if getattr(asked, name) == value})


def _options(base: Any, config: Any, prefix: str) -> Iterator[list[str]]:
    for field in fields(config):
        before, value = getattr(base, field.name), getattr(config, field.name)
        if before == value or field.name in ("env", *ELSEWHERE):
            continue
        name = field.name.replace("_", "-")
        if is_dataclass(value):
            yield from _options(before, value, prefix if field.name in UNPREFIXED else f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield [f"--{prefix}{name}" if value else f"--{prefix}no-{name}"]
        else:
            values = value if isinstance(value, tuple) else (value,)
            yield [f"--{prefix}{name}", *map(str, values)]


def differing(configs: list[PretrainConfig]) -> dict[str, list[Any]]:
    """Return the settings in which runs differ, by their dotted names, with the value of each run."""
    flat = [_flat(config, "") for config in configs]
    names = [name for name in flat[0] if name.rpartition(".")[2] not in ELSEWHERE]
    values = {name: [each[name] for each in flat] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _flat(config: Any, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        found |= _flat(value, f"{prefix}{field.name}.") if is_dataclass(value) else {f"{prefix}{field.name}": value}
    return found
