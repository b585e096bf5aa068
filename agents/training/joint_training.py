"""The hook that trains the MAE: an optimiser step after each environment step."""

import torch
from stable_baselines3.common.callbacks import BaseCallback

from tats_gym.agents.nonfinite import step_label
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.model.optim import statistics, tell_step
from tats_gym.train.distributed import mean
from tats_gym.train.nonfinite import check_finite
from tats_gym.train.optimizer import ScheduledAdamW


class JointTraining(BaseCallback):
    """The hook: one backward pass of the MAE after each environment step, under the agent's masks.

    Works with any SB3 algorithm, and under SB3's wrappers, such as VecNormalize and VecMonitor. The environment
    computes the loss and keeps its graph; only this callback changes the MAE's weights. A loss or reward that
    is not finite ends the run, see `tats_gym.train.nonfinite`.

    Args:
        optimizer: Steps the MAE that is attached to the environment; None leaves its weights as they are.
        log_interval: Rollouts from one line of the log to the next.
    """

    def __init__(self, optimizer: ScheduledAdamW | None, *, log_interval: int = 1) -> None:
        super().__init__()
        self.optimizer, self.log_interval = optimizer, log_interval
        self.last_loss = float("nan")
        self._losses: list[float] = []
        self._rewards: list[float] = []
        self._rollouts = 0

    @property
    def env(self) -> TokenSelectionVecEnv:
        """The training environment, without its wrappers."""
        env = self.training_env.unwrapped
        if not isinstance(env, TokenSelectionVecEnv):
            raise TypeError(f"joint training needs a TokenSelectionVecEnv, got {type(env).__name__}")
        return env

    def _on_training_start(self) -> None:
        self.env.vector_env.keep_graph = self.optimizer is not None

    def _on_step(self) -> bool:
        vector_env = self.env.vector_env
        loss, vector_env.loss = vector_env.loss, None
        assert loss is not None
        both = torch.stack((loss.detach(), vector_env.last_rewards.mean()))
        self.last_loss, reward = mean(both).tolist()  # waits for the device once
        check_finite("the MAE's loss", self.last_loss, step_label(self.model))
        check_finite("the reward", reward, step_label(self.model))
        if self.optimizer is not None:
            progress = self.optimizer.progress
            self.optimizer.step(loss)
            if self.optimizer.no_pending_gradients:
                tell_step(vector_env.mae, progress)
        self._losses.append(self.last_loss)
        self._rewards.append(reward)
        if self.optimizer is not None and not self.env.as_tensors:
            self._embed_again()
        return True

    def _embed_again(self) -> None:
        """Embed the next observations with the MAE's new weights, in the array that the algorithm holds."""
        observations = self.env.refresh()
        normalize = self.model.get_vec_normalize_env()
        if normalize is not None:  # the algorithm holds a normalised copy
            self.locals["new_obs"][:] = normalize.normalize_obs(observations)

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self.log_interval == 0:
            self.logger.record("mae/loss", sum(self._losses) / len(self._losses))  # averaged over all processes
            if self.optimizer is not None:
                self.logger.record("mae/learning_rate", self.optimizer.lr.at(self.optimizer.steps))
                self.logger.record("mae/steps", self.optimizer.steps)
                self.logger.record("mae/grad_norm", self.optimizer.guard.norm)
                self.logger.record("mae/skipped_steps", self.optimizer.guard.skipped)
            for name, value in statistics(self.env.vector_env.mae).items():
                self.logger.record(f"mae/{name}", value)
            self.logger.record("rollout/reward", sum(self._rewards) / len(self._rewards))
            self._losses, self._rewards = [], []

    def _on_training_end(self) -> None:
        self.env.vector_env.keep_graph = False
