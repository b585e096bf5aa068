"""The environment's settings as flat keywords: each is a field of one dataclass."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from envs.rewards import REWARDS
from tats_gym.hints import did_you_mean
from tats_gym.precision import Precision


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """What an environment is made with beyond its clips (ClipConfig) and its geometry (TokenGrid)."""

    mae: str = "base"
    """The model built where none is attached: a preset's name, or the path of a run or checkpoint."""
    mae_seed: int = 0
    """Seed of the weights of a model built from a preset."""
    reward: Literal["neg_error", "error", "gain"] = "neg_error"
    """What a mask is paid; see `envs.rewards`."""
    action: Literal["ids", "scores"] = "ids"
    """ids: K distinct token indices. scores: one number a token, the K highest become visible."""
    autoreset_mode: Literal["same_step", "disabled"] = "same_step"
    """same_step: every step returns the next clips. disabled: the caller resets."""
    render_mode: Literal["rgb_array"] | None = None
    """rgb_array: `render` draws clip, reconstruction, error and mask."""
    device: str = "auto"
    """Where clips, MAE and tensors live; auto takes CUDA where it is present."""
    precision: Precision = "auto"
    """Arithmetic of the MAE's forward pass; auto takes bf16 on a GPU that has it."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("reward", tuple(REWARDS)),
            ("action", ("ids", "scores")),
            ("autoreset_mode", ("same_step", "disabled")),
            ("render_mode", ("rgb_array", None)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")


def split_settings(settings: Mapping[str, Any], owners: tuple[type, ...]) -> dict[type, dict[str, Any]]:
    """Hand each keyword to the dataclass that has a field of this name.

    Raises:
        TypeError: If no owner has it, with the nearest names.
    """
    home = {field.name: owner for owner in owners for field in fields(owner)}
    parts: dict[type, dict[str, Any]] = {owner: {} for owner in owners}
    for name, value in settings.items():
        if name not in home:
            raise TypeError(
                f"unknown setting {name!r}{did_you_mean(name, home, most=2)} (known: {', '.join(sorted(home))})"
            )
        parts[home[name]][name] = value
    return parts
