"""The rewards by name: pure functions of the hidden tokens' errors."""

from collections.abc import Callable

from torch import Tensor

Reward = Callable[[Tensor, Tensor | None], Tensor]


def error(errors: Tensor, random_errors: Tensor | None = None) -> Tensor:
    """Pay (B,) the mean error of the hidden tokens (B, M): adversarial, it pays for hiding what is hard."""
    return errors.mean(1)


def neg_error(errors: Tensor, random_errors: Tensor | None = None) -> Tensor:
    """Pay (B,) minus the mean error of the hidden tokens (B, M): it pays for showing what helps most."""
    return -errors.mean(1)


def gain(errors: Tensor, random_errors: Tensor | None = None) -> Tensor:
    """Pay (B,) how much lower the mean error (B, M) is than under a random mask of the same clips."""
    if random_errors is None:
        raise ValueError("the reward 'gain' needs the errors under a random mask")
    return random_errors.mean(1) - errors.mean(1)


REWARDS: dict[str, Reward] = {"error": error, "neg_error": neg_error, "gain": gain}
NEEDS_RANDOM_MASK = frozenset({"gain"})
