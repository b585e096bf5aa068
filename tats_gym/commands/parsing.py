"""Parses a command's words: first the options that choose its defaults, then its settings."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import tyro

from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.training.command_line import UNPREFIXED

T = TypeVar("T")

ENV_HELP = "--env ID        id of the environment; by default TatsMask-demo-v0"
PRESET_HELP = f"--preset NAME   preset to start from, by default the id's own: {', '.join(PRESETS)}"
"""Lines of the help of commands that read these options first."""


class CommandLine:
    """The words of a command.

    Args:
        words: The words after the command's name.
        program: The words before them, for the help and for errors.
        about: The text that the help begins with.
        first: Names of the options that are read before the settings, whose defaults depend on them.
    """

    def __init__(self, words: list[str], program: str, about: str | None, *first: str) -> None:
        parser = argparse.ArgumentParser(prog=program, add_help=False, allow_abbrev=False)
        for name in first:
            parser.add_argument(f"--{name}")
        chosen, self.rest = parser.parse_known_args(words)
        self.program, self.about = program, about
        self.first: dict[str, str | None] = vars(chosen)
        """Name of each of the first options to its value, None where it is not given."""

    def path(self, name: str) -> Path | None:
        """Return the value of a first option as a path."""
        value = self.first[name]
        return None if value is None else Path(value)

    def asks_for_help(self) -> bool:
        """Return whether the words ask for the help."""
        return bool({"-h", "--help"} & set(self.rest))

    def settings(self, kind: type[T], default: T | None = None) -> T:
        """Parse the words that are left as the settings of a dataclass.

        Raises:
            ValueError: If the dataclass refuses them.
            SystemExit: If the user asked for help, or an option is unknown or malformed, which is then printed.
        """
        start = tyro.MISSING_NONPROP if default is None else default
        return tyro.cli(kind, args=self.rest, default=start, prog=self.program, description=self.about)


def check_reserved(base: PretrainConfig, preset: PretrainConfig, instead: Mapping[str, str]) -> None:
    """Refuse settings of a run that a command for many runs makes itself.

    Args:
        base: The settings that were asked for.
        preset: Those that were offered.
        instead: Names of such settings, with the option to use in their place.

    Raises:
        ValueError: If one was changed.
    """
    for name, option in instead.items():
        part, _, field = name.rpartition(".")
        value, offered = (_value(each, part, field) for each in (base, preset))
        if value != offered:
            flag = field if part in UNPREFIXED else f"base.{name}"
            raise ValueError(f"--{flag.replace('_', '-')} is not to be given here, got {value!r}; use {option}")


def _value(config: PretrainConfig, part: str, field: str) -> Any:
    return getattr(getattr(config, part) if part else config, field)
