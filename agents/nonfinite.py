"""`tats_gym.train.nonfinite` for agents, whose optimisers SB3 steps and whose losses it logs, stock ones too."""

from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import recursive_getattr

from tats_gym.train.nonfinite import GradientGuard, check_finite


def check_losses(agent: BaseAlgorithm) -> None:
    """Check the losses that the agent's last update logged.

    Raises:
        NonFiniteError: If one is NaN or infinite.
    """
    for name, value in agent.logger.name_to_value.items():
        if name.startswith("train/") and name.endswith(("loss", "objective")):
            check_finite(f"the sampler's {name.removeprefix('train/')}", value, when(agent))


def when(agent: BaseAlgorithm) -> str:
    """Name the present step."""
    return f"environment step {agent.num_timesteps}"


class FiniteWatch(BaseCallback):
    """Leaves out an agent's steps whose gradients are not finite, and ends the run where its other numbers are not.

    Values and log-probabilities are checked before the update that would learn from them, its losses after it: this
    comes before whatever saves. A loss that is not finite has gradients that are not, and so changed nothing.

    Args:
        agent: Any SB3 algorithm; its optimisers are guarded from now on.
    """

    def __init__(self, agent: BaseAlgorithm) -> None:
        super().__init__()
        parts = [recursive_getattr(agent, name) for name in agent._get_torch_save_params()[0]]
        optimizers = [part for part in parts if isinstance(part, torch.optim.Optimizer)]
        self.guards = [GradientGuard("sampler", each, lambda: when(agent)) for each in optimizers]

    def _on_rollout_start(self) -> None:
        check_losses(self.model)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = getattr(self.model, "rollout_buffer", None)
        if isinstance(buffer, RolloutBuffer):
            check_finite("a value of the sampler", buffer.values, when(self.model))
            check_finite("a log-probability of the sampler", buffer.log_probs, when(self.model))
        if self.guards:
            self.logger.record("sampler/skipped_steps", sum(guard.skipped for guard in self.guards))

    def _on_training_end(self) -> None:
        check_losses(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted."""
        return {"guards": [guard.state_dict() for guard in self.guards]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from what `state_dict` returned."""
        for guard, counted in zip(self.guards, state["guards"], strict=True):
            guard.load_state_dict(counted)
