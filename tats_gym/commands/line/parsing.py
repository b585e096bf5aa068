"""Parses a command's words: first the options that choose its defaults, then its settings."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from tats_gym.agents import AGENTS
from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.training.command_line import UNPREFIXED
from tats_gym.commands.line.config_file import ConfigFile
from tats_gym.commands.line.help_text import wrapped
from tats_gym.encoders.mae import MAESource
from tats_gym.messages import brief
from tats_gym.registration import DEFAULT_ENV, env_ids, import_env

T = TypeVar("T")

ENV_HELP = f"--env ID        id of the environment, by default {DEFAULT_ENV}: {', '.join(env_ids())}"
AGENT_HELP = f"--agent NAME    name of the agent, or module:function of your own: {', '.join(AGENTS)}"
PRESET_HELP = f"--preset NAME   preset to start from, by default the id's own: {', '.join(PRESETS)}"
"""Lines of the help of commands that read these options first."""
CONFIG_HELP = "--config FILE   settings to start from, as JSON or YAML; options beside it win over them"
RUN_CONFIG_HELP = CONFIG_HELP.replace("YAML;", "YAML, or the config.json of a run;")
PLAN_HELP = "--dry-run       measure a few steps, print hours, memory and disk, and leave no run behind"
QUIET_HELP = "--quiet         no messages but results, warnings and errors"


class CommandLine:
    """The words of a command.

    Args:
        words: The words after the command's name.
        program: The words before them, for the help and for errors.
        about: The text that the help begins with.
        first: Names of the options that are read before the settings, whose defaults depend on them.
        progress: Whether the settings have a `quiet` of their own, for a progress bar.
        plans: Whether the command takes --dry-run, see `dry_run`.

    Raises:
        OSError: If the file of --config is missing or cannot be read.
        ValueError: If it is neither JSON nor YAML, or given beside --resume.
        TypeError: If it has another value than text for one of the first options.
    """

    def __init__(
        self,
        words: list[str],
        program: str,
        about: str | None,
        *first: str,
        progress: bool = False,
        plans: bool = False,
    ) -> None:
        parser = argparse.ArgumentParser(prog=program, add_help=False, allow_abbrev=False)
        for name in ("config", *first):
            parser.add_argument(f"--{name}")
        for flag in ("quiet", "dry-run") if plans else ("quiet",):
            parser.add_argument(f"--{flag}", action="store_true")
        chosen, self.rest = parser.parse_known_args(words)
        given: dict[str, Any] = vars(chosen)
        self.rest += ["--quiet"] * (given.pop("quiet") and progress)
        self.dry_run: bool = given.pop("dry_run", False)
        """Whether to plan alone."""
        config = given.pop("config")
        self.program = program
        common = [RUN_CONFIG_HELP if "resume" in first else CONFIG_HELP]
        common += [PLAN_HELP] * plans + [QUIET_HELP] * (not progress)
        self.about = "\n".join([(about or "").strip(), "", *common])
        self.file = None if config is None else ConfigFile(Path(config))
        if self.file and given.get("resume"):
            raise ValueError("--resume goes on with the run's own settings, but --config was given; leave one out")
        self._by_words = {name for name, value in given.items() if value is not None}
        if "env" in self._by_words:
            import_env(given["env"])
        self.first: dict[str, str | None] = {
            name: self._in_file(name) if value is None else value for name, value in given.items()
        }
        """Name of each of the first options to its value, None where neither the words nor the file have it."""

    def _in_file(self, name: str) -> str | None:
        value = None if self.file is None or name == "resume" else self.file.values.get(name)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"--config: {name} must be text, got {brief(value)}")
        return value

    @property
    def env_id(self) -> str:
        """The id that --env or the file names, or the default."""
        return self.first["env"] or DEFAULT_ENV

    def path(self, name: str) -> Path | None:
        """Return the value of a first option as a path."""
        value = self.first[name]
        return None if value is None else Path(value)

    def asks_for_help(self) -> bool:
        """Return whether the words ask for the help."""
        return bool({"-h", "--help"} & set(self.rest))

    def given(self, part: str) -> list[str]:
        """Return the names of the settings of a part, such as "mae", that the words or the file give.

        The settings in the config.json of a run count as its own, not as given.
        """
        prefix = f"--{part}."
        words = [word.partition("=")[0] for word in self.rest if word.startswith(prefix)]
        names = [word.removeprefix(prefix).removeprefix("no-").replace("-", "_") for word in words]
        values: Any = {} if self.file is None or self.file.from_run else self.file.values
        for name in part.split("."):
            values = values.get(name, {}) if isinstance(values, Mapping) else {}
        return [*names, *(values if isinstance(values, Mapping) else ())]

    def settings(self, kind: type[T], default: T | None = None) -> T:
        """Parse the words that are left as the settings of a dataclass, over those of the file and the default.

        Raises:
            ValueError: If the dataclass refuses them, or the file has a text that is none of the choices.
            TypeError: If the file has an unknown setting, or one of another type.
            SystemExit: If the user asked for help, or an option is unknown or malformed, which is then printed.
        """
        if self.asks_for_help():
            print(wrapped(self.about), end="\n\n")
        if self.file is not None:
            hints = get_type_hints(kind)
            left = {name for name in self.first if name != "resume" and (name in self._by_words or name not in hints)}
            if "env" in self._by_words and isinstance(clips := self.file.values.get("clips"), dict):
                clips.pop("data", None)  # the id names the dataset
            default = self.file.over(kind, default, without=left)
        start = tyro.MISSING_NONPROP if default is None else default
        return tyro.cli(kind, args=self.rest, default=start, prog=self.program, description="")


def show_log(words: list[str], *, times: bool = False) -> None:
    """Log messages to standard error, with --quiet among the words only warnings.

    Args:
        words: The words of the command.
        times: Log the time of day in place of the level, for commands of hours.
    """
    level = logging.WARNING if "--quiet" in words else logging.INFO
    if times:
        logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    else:
        logging.basicConfig(level=level, format="%(levelname)s %(message)s")


def check_mae(
    line: CommandLine, config: PretrainConfig, part: str = "mae", begun: PretrainConfig | None = None
) -> None:
    """Refuse settings of the MAE that contradict the one that a run starts from, whose architecture it takes.

    Args:
        line: The command's words.
        config: The run's settings.
        part: The part of the command's settings that holds those of the MAE.
        begun: The settings with which the run began, if it goes on; `init_mae` is then not read.

    Raises:
        ValueError: If one was given that contradicts it, or there is no such MAE.
        CheckpointError: If it is damaged.
    """
    given = line.given(part)
    if config.init_mae is None or not given:
        return
    option = f"--{part.removesuffix('mae')}init-mae"
    recorded = begun.mae if begun else MAESource.find(config.init_mae, option, decoder=config.mae).config
    other = [name for name in given if getattr(config.mae, name) != getattr(recorded, name)]
    if other:
        options = ", ".join(f"--{part}.{name.replace('_', '-')} {getattr(config.mae, name)}" for name in other)
        sizes = ", ".join(f"{name} {getattr(recorded, name)}" for name in other)
        way_out = "leave it out" if begun else f"leave it out, or start from scratch by {option} None"
        raise ValueError(f"{options} contradicts {option} {config.init_mae}, whose MAE has {sizes}; {way_out}")


def check_reserved(base: PretrainConfig, preset: PretrainConfig, instead: Mapping[str, str]) -> None:
    """Refuse settings of a run that a command for many runs makes itself.

    Args:
        base: The settings that were asked for.
        preset: The settings that were offered.
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
