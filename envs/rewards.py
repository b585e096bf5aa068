"""The rewards: pure functions of the hidden tokens' errors, and the table of their names.

Another package adds a reward by an entry point of the group "tats_gym.rewards", or the user names it as
`module:object`: a `Reward`, or a function from errors (B, M) to rewards (B,).
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tats_gym.messages import check_choice
from tats_gym.plugs import find_plug, installed

ENTRY_POINTS = "tats_gym.rewards"


@dataclass(frozen=True)
class Reward:
    """A reward by name: its function, and the errors that the function takes."""

    function: Callable[..., Tensor]
    """From errors (B, M) of the hidden tokens to rewards (B,)."""
    needs_random_mask: bool = False
    """Whether the function also takes errors (B, M) under a random mask of the same clips: one more forward."""

    def __call__(self, errors: Tensor, random_errors: Tensor | None = None) -> Tensor:
        """Return the rewards (B,) for errors (B, M).

        Raises:
            ValueError: If errors under a random mask are needed and missing.
        """
        if not self.needs_random_mask:
            return self.function(errors)
        if random_errors is None:
            raise ValueError(f"the reward {self.function.__name__!r} needs the errors under a random mask")
        return self.function(errors, random_errors)


def neg_error(errors: Tensor) -> Tensor:
    """Return minus the mean error of the hidden tokens: it rewards showing the tokens that help most."""
    return -errors.mean(1)


def error(errors: Tensor) -> Tensor:
    """Return the mean error of the hidden tokens: adversarial, it rewards hiding the tokens that are hard."""
    return errors.mean(1)


def gain(errors: Tensor, random_errors: Tensor) -> Tensor:
    """Return by how much the mean error is lower than under a random mask of the same clips."""
    return random_errors.mean(1) - errors.mean(1)


REWARDS = {
    "neg_error": Reward(neg_error),
    "error": Reward(error),
    "gain": Reward(gain, needs_random_mask=True),
}
"""Name of a reward, as settings and command lines give it, to the reward."""


def check_reward_name(name: str) -> None:
    """Raise ValueError with the nearest name if there is no such reward; `module:object` is not imported yet."""
    if ":" not in name:
        check_choice("reward", name, (*REWARDS, *installed(ENTRY_POINTS)))


def find_reward(name: str) -> Reward:
    """Return the reward of this name: built in, from an entry point, or `module:object`, which is imported.

    Raises:
        ValueError: If there is none.
        TypeError: If the object is neither a `Reward` nor a function.
    """
    check_reward_name(name)
    if name in REWARDS:
        return REWARDS[name]
    reward = find_plug(name, installed(ENTRY_POINTS), "reward")
    if not callable(reward):
        raise TypeError(f"reward {name} must be a Reward or a function of errors, got {reward!r}")
    return reward if isinstance(reward, Reward) else Reward(reward)
