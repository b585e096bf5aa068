"""The settings of the environment that an agent needs, as its builder names them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from tats_gym.agents.config import PretrainConfig
from tats_gym.envs.settings import EnvConfig

Build = TypeVar("Build", bound=Callable[..., Any])

DEFAULTS: dict[str, Any] = {"action": EnvConfig.action, "masks_per_clip": EnvConfig.masks_per_clip}
"""Values for an agent that leaves both open."""


def needs(**settings: Any) -> Callable[[Build], Build]:
    """Mark a builder with the settings of `PretrainConfig` that its agent takes where the user leaves them None."""

    def mark(build: Build) -> Build:
        build.needs = settings  # type: ignore[attr-defined]
        return build

    return mark


def settled(config: PretrainConfig, build: Callable[..., Any]) -> PretrainConfig:
    """Return the settings, those that are None filled in with the agent's.

    Raises:
        ValueError: If the user asks for another form of actions than the agent's.
    """
    needed = getattr(build, "needs", {})
    answer = needed.get("action", config.action)
    if config.action not in (None, answer):
        raise ValueError(
            f"--agent {config.agent} answers with {answer}, but --action {config.action} was asked for; "
            "leave --action out"
        )
    wanted = DEFAULTS | needed
    return replace(config, **{name: value for name, value in wanted.items() if getattr(config, name) is None})
