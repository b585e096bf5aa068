"""The table of targets: the builder of each, which is imported when the target is named.

The user names a target of another package as `module:object`: a function from a TokenGrid to a `Target`, or a
`TargetKind` whose function needs more.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tats_gym.encoders.shipped import SHIPPED
from tats_gym.messages import check_choice
from tats_gym.model.target import Target
from tats_gym.model.videomae import MAEConfig
from tats_gym.plugs import find_plug, load_own
from tats_gym.settings.paths import absolute
from tats_gym.tokens import TokenGrid


@dataclass(frozen=True, kw_only=True)
class TargetKind:
    """The builder of a target."""

    builder: str
    """`module:function`, from a TokenGrid, and from `needs` if it needs more, to a `Target`."""
    needs: Literal["mae", "path"] | None = None
    """mae: the sizes of the MAE, an MAEConfig. path: the text after the name in the table and a colon."""


TARGETS = {
    "pixels": TargetKind(builder="tats_gym.model.target:Pixels"),
    "teacher": TargetKind(builder="tats_gym.targets.teacher:Teacher", needs="path"),
    "ema": TargetKind(builder="tats_gym.targets.ema:Ema", needs="mae"),
    "hog": TargetKind(builder="tats_gym.targets.hog:Hog"),
}
"""Name of a target, as settings and command lines give it, to its record."""

CHOICES = "|".join(name if kind.needs != "path" else f"{name}:PATH" for name, kind in TARGETS.items())
"""The names, for help texts."""


def own_target(name: str) -> str:
    """Return the name of a target that lies in a module of the user's, "" for one of the table."""
    head, colon, _ = name.partition(":")
    return name if colon and head not in TARGETS else ""


def checked_target(name: str) -> str:
    """Return the name of a target, a path in it made absolute; `module:object` is not imported yet.

    Raises:
        ValueError: If there is no such target, with the nearest name, or its path is missing.
    """
    if own_target(name):
        return name
    head, colon, path = name.partition(":")
    check_choice("target", head, TARGETS)
    if TARGETS[head].needs != "path":
        if colon:
            raise ValueError(f"target {head} takes no path, got {name!r}; leave {colon + path!r} out")
        return name
    if not path:
        raise ValueError(f"target {head} must be given with a path, as {head}:PATH, got {name!r}")
    return name if path in SHIPPED else f"{head}:{absolute(path)}"


def build_target(name: str, grid: TokenGrid, mae: MAEConfig) -> Target:
    """Build the target of this name, as `PretrainConfig.target` gives it.

    Args:
        name: The name.
        grid: The clips' geometry.
        mae: Sizes of the MAE that predicts it.

    Raises:
        ValueError: If there is none, or it does not fit the geometry.
        TypeError: If a function of the user's makes no `Target`.
        CheckpointError: If a file that it reads is damaged.
    """
    head, _, path = checked_target(name).partition(":")
    own_kind = own_target(name)
    kind = _own_kind(own_kind) if own_kind else TARGETS[head]
    more: dict[str | None, tuple[Any, ...]] = {None: (), "mae": (mae,), "path": (path,)}
    build = load_own(kind.builder, "--target") if own_kind else find_plug(head, {head: kind.builder}, "--target")
    built = build(grid, *more[kind.needs])
    if not isinstance(built, Target):
        raise TypeError(f"--target {name} must make a tats_gym.model.target.Target, got a {type(built).__name__}")
    return built


def _own_kind(name: str) -> TargetKind:
    """Return the record of a target that lies in a module of the user's, which is imported."""
    loaded = load_own(name, "--target")
    return loaded if isinstance(loaded, TargetKind) else TargetKind(builder=name)
