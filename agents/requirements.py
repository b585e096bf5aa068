"""What an agent needs of its environment, said by what builds it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from tats_gym.agents.config import PretrainConfig

Build = TypeVar("Build", bound=Callable[..., Any])

DEFAULTS: dict[str, Any] = {"action": "ids", "masks_per_clip": 1}


def needs(**settings: Any) -> Callable[[Build], Build]:
    """Mark what builds an agent with settings of `PretrainConfig` that it has where the user leaves them None."""

    def mark(build: Build) -> Build:
        build.needs = settings  # type: ignore[attr-defined]
        return build

    return mark


def settled(config: PretrainConfig, build: Callable[..., Any]) -> PretrainConfig:
    """Return the settings with what was left to the agent filled in.

    Raises:
        ValueError: If the actions are not those that the agent answers with.
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
