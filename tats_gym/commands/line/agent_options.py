"""The options `--agent-settings.NAME`: settings of the chosen agent's own, as its builder declares them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from inspect import getdoc
from typing import Annotated, Any

import tyro

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.registry import find_agent
from tats_gym.agents.requirements import plain_settings, settings_kind
from tats_gym.settings.config_io import from_plain

PREFIX = "--agent-settings"


@dataclass(frozen=True)
class AgentOptions:
    """A run's settings with those of one agent in the place of `PretrainConfig.agent_settings`, for the parser."""

    kind: type[PretrainConfig]
    """The dataclass to parse."""
    default: PretrainConfig
    """Its values where neither words nor file give others."""


def named_agent(words: Sequence[str]) -> str | None:
    """Return the agent that --agent names among words, None without."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--agent", nargs="?")
    name: str | None = parser.parse_known_args(words)[0].agent
    return name


def options_of(agent: str, start: PretrainConfig, words: Sequence[str], *, named: bool) -> AgentOptions:
    """Return the settings of a run by this agent to parse from words.

    Args:
        agent: Name of the agent.
        start: The settings to start from; those of another agent are left out.
        words: The words to be parsed.
        named: Whether the user named it. The agents of presets have no settings, and their modules, which take long to
            import, are left out.

    Raises:
        TypeError: If `start` has a setting of the agent that it does not have, or one of another type.
        ValueError: If there is no such agent, or the words have settings of an agent that has none.
    """
    words_given = _given(words)
    if not (named or words_given or start.agent_settings):
        return AgentOptions(PretrainConfig, start)
    kind = settings_kind(find_agent(agent))
    if kind is None:
        if words_given:
            raise ValueError(f"--agent {agent} has no settings of its own, got {words_given[0]}; leave it out")
        return AgentOptions(PretrainConfig, start)
    settings = from_plain(kind, start.agent_settings if agent == start.agent else {}, "agent_settings")
    about = tyro.conf.arg(help=getdoc(kind) or "")
    entry = ("agent_settings", Annotated[kind, about], field(default_factory=kind))
    made = make_dataclass("PretrainConfig", [entry], bases=(PretrainConfig,), frozen=True, kw_only=True)
    return AgentOptions(made, made(**_values(start) | {"agent_settings": settings}))


def plain(config: PretrainConfig) -> PretrainConfig:
    """Return parsed settings of a run as `PretrainConfig` has them, the agent's own as plain values."""
    values = _values(config)
    settings = values["agent_settings"]
    return PretrainConfig(
        **values | {"agent_settings": plain_settings(settings) if is_dataclass(settings) else settings}
    )


def refuse_agent_options(words: Sequence[str]) -> None:
    """Refuse settings of an agent's own in a command that runs several agents.

    Raises:
        ValueError: If one is among the words.
    """
    if given := _given(words):
        raise ValueError(
            f"{given[0]} is not to be given here, where each agent has its own defaults; name a builder of "
            "your own that takes other values, as module:function, among --agents"
        )


def _given(words: Sequence[str]) -> list[str]:
    names = [word.partition("=")[0] for word in words]
    return [name for name in names if name.replace("_", "-").replace("--base.", "--").split(".")[0] == PREFIX]


def _values(config: PretrainConfig) -> dict[str, Any]:
    return {each.name: getattr(config, each.name) for each in fields(PretrainConfig)}
