"""Handles NaN and infinity: losses that end a run, gradients whose optimiser step is skipped.

The rule, for every agent and for fine-tuning:

- A loss, reward, value or log-probability that is NaN or infinite ends the run: `NonFiniteError` names it and the step.
  It changes no weight, and the last checkpoint is kept.
- A gradient that is NaN or infinite although the loss was finite, an overflow in the backward pass, has its optimiser
  step skipped: weights, moments and step counts keep their bits. A warning names the step, the log counts it, and
  `MAX_SKIPPED_IN_A_ROW` skipped steps in a row end the run. The learning-rate schedule, which counts clips, goes on.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn.utils import get_total_norm

logger = logging.getLogger(__name__)

MAX_SKIPPED_IN_A_ROW = 10
"""Skipped steps in a row, of one optimiser, that end the run."""
WAY_OUT = (
    "Resume from the last checkpoint, if there is one, else start anew, with a lower learning rate "
    "(--mae-optim.base-lr, --tats.learning-rate; when fine-tuning --optim.base-lr) or --precision fp32"
)


class NonFiniteError(RuntimeError):
    """A number became NaN or infinite; no weight was changed by it."""


def check_finite(name: str, values: ArrayLike, when: str) -> None:
    """Check losses, rewards and other numbers that training depends on.

    Args:
        name: Their name, for the message.
        values: The numbers, on the host.
        when: The step, for the message.

    Raises:
        NonFiniteError: If one is NaN or infinite.
    """
    array = np.asarray(values)
    bad = array[~np.isfinite(array)]
    if bad.size:
        raise NonFiniteError(f"{name} is {bad[0]} at {when}; no weight was changed by it. {WAY_OUT}")


def check_weights_finite(name: str, module: nn.Module, when: str) -> None:
    """Check the weights of a network before they are saved.

    Raises:
        NonFiniteError: If one is NaN or infinite.
    """
    sums = [parameter.detach().sum() for parameter in module.parameters()]
    if sums and not torch.stack(sums).isfinite().all():
        raise NonFiniteError(f"weights of the {name} are not finite at {when}; they were not saved. {WAY_OUT}")


class GradientGuard:
    """Skips the steps of an optimiser whose gradients are not finite.

    It computes the norm of all gradients before each step, and waits for it. Ranks that train one model have averaged
    their gradients by then, so all skip the same steps. Finite gradients above 1e19, whose squares overflow, are
    skipped too: they would make AdamW's second moments infinite for good. Stock SB3 algorithms clip gradients first,
    which turns such gradients to zero, and their step is made.

    Args:
        name: The network's name, for messages.
        optimizer: The optimiser.
        when: Returns the name of the present step, for messages.
    """

    def __init__(self, name: str, optimizer: torch.optim.Optimizer, when: Callable[[], str]) -> None:
        self.name, self.when = name, when
        self.norm = 0.0
        """Gradient norm of the last step that was not skipped."""
        self.skipped = 0
        """Steps skipped so far."""
        self.in_a_row = 0
        optimizer.register_step_pre_hook(self._check)

    def _check(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        norm = get_total_norm([each.grad for each in parameters if each.grad is not None]).item()
        if math.isfinite(norm):
            self.norm, self.in_a_row = norm, 0
            return
        optimizer.zero_grad(set_to_none=True)  # the step leaves parameters without a gradient alone
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self.in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise NonFiniteError(
                f"the norm of the {self.name}'s gradients is {norm} at {self.when()}, and {self.in_a_row} steps "
                f"in a row were skipped. {WAY_OUT}"
            )
        logger.warning(
            "the norm of the %s's gradients is %s at %s, which is skipped: %d so far, %d in a row of at most %d",
            self.name, norm, self.when(), self.skipped, self.in_a_row, MAX_SKIPPED_IN_A_ROW - 1,
        )  # fmt: skip

    def state_dict(self) -> dict[str, int]:
        """Return the counts of skipped steps."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting from the result of `state_dict`."""
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]
