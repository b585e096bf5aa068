"""The settings of a recording: the environments, how they are played, and the videos."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from tats_gym.messages import brief
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """The environments, how they are played, and the videos."""

    env: tuple[str, ...]
    """Ids of the environments, each of which is a class; `module:id` imports a module first."""
    make: tuple[str, ...] = ()
    """Arguments of gymnasium.make: name=value, where a value may be JSON, or a JSON object of them."""
    policy: str = "random"
    """random, or module:function of yours, from the environment and a seed to a function from observations to
    actions."""
    videos: int = 200
    """Training videos of each environment."""
    held_out: int = 32
    """Validation videos of each environment, of other episodes."""
    frames: int = 48
    """Frames in a video. None spans a reset: the end of an episode that does not fill a video is left out."""
    size: int = 128
    """Height and width in pixels of the square videos, even; frames of another shape are squeezed."""
    skip: int = 1
    """Steps of the environment from one frame to the next, in which the action is repeated."""
    seed: int = 0
    """Seed of the play; each environment and split has a seed derived from it."""

    def __post_init__(self) -> None:
        check_plain(self)
        if not self.env or len(set(self.classes)) < len(self.env):
            raise ValueError(f"--env must name different environments, got {brief(self.env)}")
        check_intervals(self, videos="[1, inf)", held_out="[1, inf)", frames="[1, inf)", skip="[1, inf)")
        check_intervals(self, seed="[0, inf)")
        if self.size < 16 or self.size % 2:
            raise ValueError(f"size must be even, as the encoder requires, and at least 16, got {self.size}")
        if self.policy != "random" and not all(self.policy.partition(":")):
            raise ValueError(f"policy must be random or module:function, got {brief(self.policy)}")
        self.arguments()

    @property
    def classes(self) -> list[str]:
        """The class of each environment: its id without the module."""
        return [each.rpartition(":")[2] for each in self.env]

    @property
    def counts(self) -> dict[str, int]:
        """Videos of all environments in each split."""
        return {"train": self.videos * len(self.env), "validation": self.held_out * len(self.env)}

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of gymnasium.make.

        Raises:
            ValueError: If a word of `make` is neither name=value nor a JSON object.
        """
        values: dict[str, Any] = {}
        for word in self.make:
            name, _, value = word.partition("=")
            if isinstance(_json(word), dict):
                values |= _json(word)
            elif value and name.isidentifier():
                values[name] = _json(value)
            else:
                raise ValueError(f"make takes name=value, or a JSON object, got {brief(word)}")
        return values

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON has them, and the number of videos in each split."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()} | self.counts


def _json(text: str) -> Any:
    """Return the value that the text is in JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
