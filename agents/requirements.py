"""The settings that an agent declares: those that it needs of its environment, and those of its own."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass, replace
from functools import wraps
from typing import Any, TypeVar

from tats_gym.agents.config import PretrainConfig
from tats_gym.envs.settings import EnvConfig
from tats_gym.settings.config_io import check_plain, from_plain

Build = TypeVar("Build", bound=Callable[..., Any])

DEFAULTS: dict[str, Any] = {name: getattr(EnvConfig, name) for name in ("action", "masks_per_clip", "visible_spread")}
"""Values for an agent that leaves them open."""


def needs(**settings: Any) -> Callable[[Build], Build]:
    """Mark a builder with the settings of `PretrainConfig` that its agent takes where the user leaves them None."""

    def mark(build: Build) -> Build:
        build.needs = settings  # type: ignore[attr-defined]
        return build

    return mark


def with_settings(kind: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a builder settings of its own, which commands offer as `--agent-settings.NAME`.

    The function that it decorates takes them as a third argument, `build(env, config, settings)`; the result takes
    the first two, as any builder, and reads the third from `config.agent_settings`.

    Args:
        kind: A frozen dataclass whose fields have defaults and are text, numbers, booleans, Literals, tuples or
            dataclasses of these; its `__post_init__` may reject values by a ValueError.

    Raises:
        TypeError: If it is no such dataclass; the message names the rule.
    """
    _check_kind(kind)

    def give(build: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(build)
        def built(env: Any, config: PretrainConfig) -> Any:
            return build(env, config, from_plain(kind, config.agent_settings, "agent_settings"))

        built.settings = kind  # type: ignore[attr-defined]
        return built

    return give


def _check_kind(kind: type[Any]) -> None:
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not frozen:
        raise TypeError(f"the settings of an agent must be a frozen dataclass, got {kind!r}; see docs/agents.md")
    try:
        default = kind()
        check_plain(default, "agent_settings.")
        again = from_plain(kind, plain_settings(default), "agent_settings")
    except (TypeError, ValueError, KeyError) as err:
        raise TypeError(
            f"the settings of an agent, {kind.__name__}, must have a default for each field, and be text, numbers, "
            f"booleans, Literals, tuples or dataclasses of these, as config.json holds them: {err}"
        ) from err
    if again != default:
        raise TypeError(f"the settings of an agent must come back from JSON as they were, got {default} and {again}")


def plain_settings(settings: Any) -> dict[str, Any]:
    """Return an agent's own settings as JSON has them, for `PretrainConfig.agent_settings`."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return values


def settings_kind(build: Callable[..., Any]) -> type[Any] | None:
    """Return the dataclass of an agent's own settings, None for an agent without."""
    return getattr(build, "settings", None)


def resolve_settings(config: PretrainConfig, build: Callable[..., Any]) -> PretrainConfig:
    """Return the settings, those that are None filled in with the agent's, and its own with their defaults.

    Raises:
        TypeError: If one of the agent's own is unknown, or of another type.
        ValueError: If the user asks for another form of actions than the agent's, the agent rejects one of its own
            settings, or has none.
    """
    needed = getattr(build, "needs", {})
    answer = needed.get("action", config.action)
    if config.action not in (None, answer):
        raise ValueError(
            f"--agent {config.agent} answers with {answer}, but --action {config.action} was asked for; "
            "leave --action out"
        )
    wanted = DEFAULTS | needed
    agent_settings = _completed(config.agent, config.agent_settings, settings_kind(build))
    open_ones = {name: value for name, value in wanted.items() if getattr(config, name) is None}
    return replace(config, **open_ones, agent_settings=agent_settings)


def _completed(agent: str, values: Mapping[str, Any], kind: type[Any] | None) -> dict[str, Any]:
    if kind is not None:
        return plain_settings(from_plain(kind, values, "agent_settings"))
    if values:
        names = ", ".join(f"--agent-settings.{name.replace('_', '-')}" for name in values)
        raise ValueError(f"--agent {agent} has no settings of its own, got {names}; leave them out")
    return {}
