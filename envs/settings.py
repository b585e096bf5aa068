"""The environment's settings as flat keywords: each is a field of one dataclass."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from gymnasium.vector import AutoresetMode

from tats_gym.envs.rewards import check_reward_name
from tats_gym.messages import did_you_mean
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.precision import AUTO, Precision


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """Settings of an environment beyond its clips (ClipConfig) and its geometry (TokenGrid)."""

    mae: str = "base"
    """The model built where none is attached: a name or path that `MAESource.find` takes, or module:function of your
    own."""
    mae_seed: int = 0
    """Seed of the weights of a model built from a preset, or by a function of your own."""
    reward: str = "neg_error"
    """Reward of a mask, by its name or as module:object of your own; see `tats_gym.envs.rewards`."""
    action: Literal["ids", "scores"] = "ids"
    """ids: K distinct token indices. scores: one number a token, the K highest become visible."""
    decode_ratio: float = 1.0
    """Share of the hidden tokens that the MAE predicts, drawn anew for each mask; the others have no error."""
    visible_spread: float = 0.0
    """Half-width, as a share of the grid's K, of the interval from which K is drawn uniformly for each batch of clips.
    An action then holds the largest K of tokens, of which the step shows the first K, or the K highest scores."""
    masks_per_clip: int = 1
    """G: environments in a row that hold the same view of the same clip, which is decoded and embedded once."""
    shard: tuple[int, int] = (0, 1)
    """Rank and number of ranks: each takes its own clips of every epoch, and masks of its own."""
    autoreset_mode: Literal["same_step", "next_step", "disabled"] = "same_step"
    """same_step: every step returns the next clips. next_step: every second step does, and rewards nothing. disabled:
    the caller resets. Gymnasium's `AutoresetMode` and its values are taken too."""
    render_mode: Literal["rgb_array"] | None = None
    """rgb_array: `render` draws clip, reconstruction, error and mask."""
    device: str = AUTO
    """Where clips, MAE and tensors live; auto takes CUDA where it is available."""
    precision: Precision = AUTO
    """Arithmetic of the MAE's forward pass; auto takes bf16 on a GPU that has it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "autoreset_mode", _own_name(self.autoreset_mode))
        check_plain(self)
        check_reward_name(self.reward)
        check_intervals(self, decode_ratio="(0, 1]", masks_per_clip="[1, inf)", visible_spread="[0, 1)")
        if self.masks_per_clip > 1 and self.autoreset_mode == "disabled":
            raise ValueError(
                f"masks_per_clip {self.masks_per_clip} needs autoreset_mode 'same_step' or 'next_step', got "
                f"{self.autoreset_mode!r}: environments that share a clip are reset together"
            )


def _own_name(mode: Any) -> Any:
    """Return the setting's name for a mode of Gymnasium or its value; other values as they are."""
    names = {key: each.name.lower() for each in AutoresetMode for key in (each, each.value)}
    return names.get(mode, mode) if isinstance(mode, AutoresetMode | str) else mode


def split_settings(settings: Mapping[str, Any], owners: tuple[type, ...]) -> dict[type, dict[str, Any]]:
    """Hand each keyword to the dataclass that has a field of this name.

    Raises:
        TypeError: If no owner has it, with the nearest names. It says so in Python's words, by which TorchRL recognises
            that an environment takes no `frameskip`.
    """
    home = {field.name: owner for owner in owners for field in fields(owner)}
    parts: dict[type, dict[str, Any]] = {owner: {} for owner in owners}
    for name, value in settings.items():
        if name not in home:
            raise TypeError(
                f"got an unexpected keyword argument {name!r}{did_you_mean(name, home, most=2)} "
                f"(settings: {', '.join(sorted(home))})"
            )
        parts[home[name]][name] = value
    return parts
