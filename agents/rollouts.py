"""Rollouts as tensors: what our agents collect, and the buffer that turns errors into credit."""

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from envs.sb3 import TokenSelectionVecEnv
from envs.token_selection import Outcome, TokenSelectionVectorEnv
from tats_gym.masks import random_ids
from tats_gym.optimisation import NonFiniteLossError


class TokenRolloutBuffer(RolloutBuffer):
    """A rollout of one-step episodes kept as tensors on their device.

    Credit "token" is the paper's, read as in AdaMAE: hidden token i of a clip has the advantage e_i - V, visible ones
    none, and V regresses the mean hidden error. Any other credit pays the clip: advantage reward - V, V regresses the
    reward. Advantages carry the policy coefficient c1 and are never normalised: (c1 / c3) times the advantage is the
    sampler's inverse temperature.

    Args:
        buffer_size: Environment steps in a rollout, k.
        observation_space: As SB3 gives it.
        action_space: As SB3 gives it.
        device: As SB3 gives it.
        gae_lambda: Ignored: an episode is one step.
        gamma: Ignored: an episode is one step.
        n_envs: B.
        per_token: Whether each hidden token is paid (credit "token") or the clip.
        baseline: Whether the value is subtracted.
        policy_coef: c1.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        gae_lambda: float = 1,
        gamma: float = 0.99,
        n_envs: int = 1,
        *,
        per_token: bool,
        baseline: bool = True,
        policy_coef: float = 1.0,
    ) -> None:
        self.per_token, self.baseline, self.policy_coef = per_token, baseline, policy_coef
        super().__init__(
            buffer_size, observation_space, action_space, device, gae_lambda=gae_lambda, gamma=gamma, n_envs=n_envs
        )

    def reset(self) -> None:
        """Forget the rollout."""
        self.pos, self.full = 0, False
        self._steps: list[RolloutBufferSamples] = []
        # PPO.train reads these two for its explained variance.
        self.values: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self.returns: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def keep(self, tokens: Tensor, ids: Tensor, values: Tensor, log_prob: Tensor, outcome: Outcome) -> None:
        """Store one environment step.

        Args:
            tokens: (B, L, D) observations.
            ids: (B, K) actions in draw order.
            values: (B, 1) or (B,) value estimates.
            log_prob: As the policy's `credit` says: (B, L) per token, else (B,).
            outcome: What the environment told.
        """
        values = values.flatten()
        shape = outcome.mask.shape if self.per_token else values.shape
        if log_prob.shape != shape:
            raise ValueError(
                f"log-probabilities have shape {tuple(log_prob.shape)}, the credit pays {tuple(shape)}; "
                "policy and buffer must agree on the credit"
            )
        advantages, returns = self._credit(values, outcome)
        # In the order of the fields: observations, actions, old_values, old_log_prob, advantages, returns.
        self._steps.append(RolloutBufferSamples(tokens, ids, values, log_prob, advantages, returns))
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def _credit(self, values: Tensor, outcome: Outcome) -> tuple[Tensor, Tensor]:
        baseline = values if self.baseline else torch.zeros_like(values)
        if not self.per_token:
            return self.policy_coef * (outcome.rewards - baseline), outcome.rewards
        num_tokens = outcome.mask.shape[1]
        num_hidden = num_tokens - self.action_dim
        returns = outcome.errors.sum(1) / num_hidden
        advantages = (outcome.errors - baseline[:, None]) * outcome.mask
        # PPO averages over all L tokens; the objective's mean is over the M hidden ones.
        return self.policy_coef * num_tokens / num_hidden * advantages, returns

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[np.bool_]) -> None:
        """Close the rollout. Nothing is bootstrapped: every step ended its episode."""
        self.values = torch.cat([step.old_values for step in self._steps]).cpu().numpy()
        self.returns = torch.cat([step.returns for step in self._steps]).cpu().numpy()

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:  # type: ignore[override]
        """Yield the rollout in shuffled minibatches; a rollout that fits one minibatch comes whole, uncopied."""
        if not self.full:
            raise RuntimeError(f"the rollout holds {self.pos} of {self.buffer_size} steps")
        size = self.buffer_size * self.n_envs
        batch_size = batch_size or size
        if len(self._steps) == 1:
            whole = self._steps[0]
        else:
            whole = RolloutBufferSamples(*(torch.cat(field) for field in zip(*self._steps, strict=True)))
        if batch_size >= size:
            yield whole
            return
        for rows in torch.randperm(size, device=whole.actions.device).split(batch_size):
            yield RolloutBufferSamples(*(field[rows] for field in whole))


class TokenRollouts(OnPolicyAlgorithm):
    """An on-policy algorithm whose rollouts stay on the device; mix in before the algorithm.

    `warmup_timesteps` environment steps at the start use uniform masks and no update (the paper's m_o epochs).
    """

    warmup_timesteps: int = 0

    def _setup_model(self) -> None:
        if self.env is not None and not isinstance(self.env, TokenSelectionVecEnv):
            raise TypeError(f"{type(self).__name__} needs a TokenSelectionVecEnv, got {type(self.env).__name__}")
        super()._setup_model()

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        """Learn as SB3 does; the environment hands out tensors meanwhile."""
        assert isinstance(self.env, TokenSelectionVecEnv), "set_env comes first"
        self.env.as_tensors = True
        try:
            return super().learn(*args, **kwargs)
        finally:
            self.env.as_tensors = False

    @property
    def warming_up(self) -> bool:
        """Whether masks are still uniform and the sampler does not learn."""
        return self.num_timesteps < self.warmup_timesteps

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Step the environment `n_rollout_steps` times; False if the callback stopped the training."""
        assert isinstance(env, TokenSelectionVecEnv)
        assert isinstance(rollout_buffer, TokenRolloutBuffer)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        # The rollout's own answer, since num_timesteps moves below and train() comes after.
        self.rollout_is_uniform = self.warming_up
        for _ in range(n_rollout_steps):
            if not self._step(env.vector_env, rollout_buffer, callback):
                return False
        if not self.rollout_is_uniform:
            rollout_buffer.compute_returns_and_advantage(torch.empty(0), np.ones(env.num_envs, dtype=np.bool_))
        callback.on_rollout_end()
        return True

    def _step(
        self, vector_env: TokenSelectionVectorEnv, rollout_buffer: TokenRolloutBuffer, callback: BaseCallback
    ) -> bool:
        if self.rollout_is_uniform:
            outcome = vector_env.step_tensors(self.unlearned_ids(vector_env))
        else:
            tokens = vector_env.observe().float()
            with torch.no_grad():
                ids, values, log_prob = self.policy(tokens)
            outcome = vector_env.step_tensors(ids)
            rollout_buffer.keep(tokens, ids, values, log_prob, outcome)
        self.num_timesteps += vector_env.num_envs
        callback.update_locals({"outcome": outcome})
        return callback.on_step()

    def unlearned_ids(self, vector_env: TokenSelectionVectorEnv) -> Tensor:
        """Mask the clips in hand (B, K) while nothing is learnt: uniformly."""
        grid = vector_env.grid
        return random_ids(vector_env.num_envs, grid.num_tokens, grid.num_visible, device=vector_env.device)

    def train(self) -> None:
        """Update the sampler, unless the rollout was made of uniform masks.

        Raises:
            NonFiniteLossError: If the loss became NaN or infinite.
        """
        if self.rollout_is_uniform:
            return
        super().train()
        loss = self.logger.name_to_value.get("train/loss", 0.0)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the sampler's loss is {loss} at environment step {self.num_timesteps}; nothing more was saved. "
                "Resume from the last checkpoint with a lower learning rate, or in fp32"
            )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_last_obs", "_last_episode_starts"]
