"""Guards agents against non-finite gradients, losses, values and log-probabilities, stock SB3 agents included."""

from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import recursive_getattr

from tats_gym.train.nonfinite import GradientGuard, check_finite


def check_losses(agent: BaseAlgorithm) -> None:
    """Check the logged losses of the agent's last update.

    Raises:
        NonFiniteError: If one is NaN or infinite.
    """
    for name, value in agent.logger.name_to_value.items():
        if name.startswith("train/") and name.endswith(("loss", "objective")):
            check_finite(f"the sampler's {name.removeprefix('train/')}", value, step_label(agent))


def step_label(agent: BaseAlgorithm) -> str:
    """Return the masks so far, SB3's timesteps, as text for error messages."""
    return f"timestep {agent.num_timesteps}"


class FiniteWatch(BaseCallback):
    """Skips an agent's optimiser steps with non-finite gradients, and ends the run on other non-finite numbers.

    Values and log-probabilities are checked before the update that uses them, its losses after it; this callback must
    precede those that save. A non-finite loss has non-finite gradients, so its step was skipped.

    Args:
        agent: Any SB3 algorithm; its optimisers are guarded from now on.
    """

    def __init__(self, agent: BaseAlgorithm) -> None:
        super().__init__()
        parts = [recursive_getattr(agent, name) for name in agent._get_torch_save_params()[0]]
        optimizers = [part for part in parts if isinstance(part, torch.optim.Optimizer)]
        self.guards = [GradientGuard("sampler", each, lambda: step_label(agent)) for each in optimizers]

    def _on_rollout_start(self) -> None:
        check_losses(self.model)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = getattr(self.model, "rollout_buffer", None)
        if isinstance(buffer, RolloutBuffer):
            check_finite("a value of the sampler", buffer.values, step_label(self.model))
            check_finite("a log-probability of the sampler", buffer.log_probs, step_label(self.model))
        if self.guards:
            self.logger.record("sampler/skipped_steps", sum(guard.skipped for guard in self.guards))

    def _on_training_end(self) -> None:
        check_losses(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts of the guards."""
        return {"guards": [guard.state_dict() for guard in self.guards]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the counts of a `state_dict`."""
        for guard, counted in zip(self.guards, state["guards"], strict=True):
            guard.load_state_dict(counted)
