"""Rollouts of tensors: the mixin of on-policy algorithms that collects them on the device and updates on them."""

from collections import defaultdict
from typing import Any, Self

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from tats_gym.agents.nonfinite import check_losses
from tats_gym.agents.rollout_buffer import MaskBatch, TokenRolloutBuffer
from tats_gym.agents.subset_policy import PolicyOutput, SubsetPolicy
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.masks import random_ids
from tats_gym.train.precision import to_float32


class TokenRollouts(OnPolicyAlgorithm):
    """Mixin for on-policy algorithms with rollouts on the device; mix in before the algorithm, and define `loss`.

    The first `warmup_timesteps` masks are uniform, and no update follows them (the paper's m_o epochs).

    The sampler's weights do not change between a rollout and the first pass of the update. With `reuse_scores`, that
    pass takes the outputs of `score` that drew the masks, stored with their graph, if it is over the whole rollout and
    `score` computes the same in training mode.
    """

    rollout_buffer: TokenRolloutBuffer
    warmup_timesteps: int = 0
    reuse_scores: bool = True
    n_epochs: int = 1
    extra_forwards: int = 0
    """Forwards of the MAE that the agent adds for a mask it learns from."""
    outputs: list[PolicyOutput] | None = None
    """Outputs of `score` in each step of this rollout, if the update reuses them."""

    def _setup_model(self) -> None:
        if self.env is not None and not isinstance(self.env, TokenSelectionVecEnv):
            raise TypeError(f"{type(self).__name__} needs a TokenSelectionVecEnv, got {type(self.env).__name__}")
        super()._setup_model()
        if self.env is None or not isinstance(self.policy, SubsetPolicy):
            return
        drawn, held = self.policy.masks_per_clip, self.env.vector_env.config.masks_per_clip
        if drawn != held:
            raise ValueError(
                f"the policy draws {drawn} masks a clip, the environment holds each clip {held} times; "
                "give both the same masks_per_clip"
            )
        spread = self.env.vector_env.config.visible_spread
        if spread and self.n_steps > 1:
            raise ValueError(
                f"visible_spread {spread:g} needs one step a rollout, since all masks of a rollout have the same K; "
                f"got n_steps {self.n_steps} (--tats.n-steps 1)"
            )

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        """Train as in SB3, with an environment that returns tensors meanwhile.

        Raises:
            ValueError: If the algorithm has no environment.
        """
        if not isinstance(self.env, TokenSelectionVecEnv):
            raise ValueError(f"learn needs a TokenSelectionVecEnv, got {self.env!r}; give it one with set_env")
        self.env.as_tensors = True
        try:
            return super().learn(*args, **kwargs)
        finally:
            self.env.as_tensors = False

    @property
    def by_rule(self) -> bool:
        """Whether `rule_ids` gives the masks and no update follows, as during the warm-up."""
        return self.num_timesteps < self.warmup_timesteps

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Step the environment `n_rollout_steps` times; return False if the callback stopped the training."""
        assert isinstance(env, TokenSelectionVecEnv)
        assert isinstance(rollout_buffer, TokenRolloutBuffer)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        self.outputs = [] if self._reuses_outputs(n_rollout_steps * env.num_envs) else None
        callback.on_rollout_start()
        # Stored, since num_timesteps grows before train() asks.
        self.rollout_by_rule = self.by_rule
        for _ in range(n_rollout_steps):
            if not self._step(env.vector_env, rollout_buffer, callback):
                return False
        if not self.rollout_by_rule:
            rollout_buffer.compute_returns_and_advantage(torch.empty(0), np.ones(env.num_envs, dtype=np.bool_))
        callback.on_rollout_end()
        return True

    @property
    def minibatch_size(self) -> int | None:
        """Masks in a minibatch of the update; None for the whole rollout."""
        size: int | None = getattr(self, "batch_size", None)
        return size

    def _reuses_outputs(self, num_masks: int) -> bool:
        whole = (self.minibatch_size or num_masks) >= num_masks
        same = isinstance(self.policy, SubsetPolicy) and self.policy.scores_alike_in_training
        return self.reuse_scores and whole and same

    def _step(
        self, vector_env: TokenSelectionVectorEnv, rollout_buffer: TokenRolloutBuffer, callback: BaseCallback
    ) -> bool:
        if self.rollout_by_rule:
            outcome = vector_env.step_tensors(self.rule_ids(vector_env))
        else:
            outcome = self.step_learning(vector_env, rollout_buffer)
        self.num_timesteps += vector_env.num_envs * vector_env.config.shard[1]  # over all processes
        callback.update_locals({"outcome": outcome})
        return callback.on_step()

    def step_learning(self, vector_env: TokenSelectionVectorEnv, rollout_buffer: TokenRolloutBuffer) -> Outcome:
        """Draw masks of the current clips, step the environment with them, and store what the update needs."""
        tokens = to_float32(vector_env.observe())
        ids_keep, values, log_prob = self.draw_masks(tokens, vector_env.clip_buffer.num_visible)
        outcome = vector_env.step_tensors(ids_keep)
        rollout_buffer.add_step(tokens, ids_keep, values, log_prob, outcome)
        return outcome

    def draw_masks(self, tokens: Tensor, num_visible: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw K tokens of each mask for tokens (B / G, L, D).

        Returns:
            Actions (B, K), values and log-probabilities, without a graph.
        """
        assert isinstance(self.policy, SubsetPolicy)
        with torch.set_grad_enabled(self.outputs is not None):
            output = self.policy.score(tokens)
            ids_keep, values, log_prob = self.policy.draw(output, num_visible=num_visible)
        if self.outputs is not None:
            self.outputs.append(output)
        return ids_keep, values.detach(), log_prob.detach()

    def rule_ids(self, vector_env: TokenSelectionVectorEnv) -> Tensor:
        """Draw the visible tokens (B, K) of the current clips that need no sampler: uniform ones."""
        num_tokens, num_visible = vector_env.grid.num_tokens, vector_env.clip_buffer.num_visible
        return random_ids(vector_env.num_envs, num_tokens, num_visible, device=vector_env.device)

    def train(self) -> None:
        """Update the sampler, unless the rollout's masks came from `rule_ids`.

        Raises:
            NonFiniteError: If a loss is NaN or infinite.
        """
        if self.rollout_by_rule:
            return
        self.update()
        check_losses(self)

    def loss(self, batch: MaskBatch, output: PolicyOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a minibatch, and the terms to log.

        Args:
            batch: B masks.
            output: The policy's `score` of the batch's observations under the current weights.
        """
        raise NotImplementedError(f"{type(self).__name__} must define its loss")

    def update(self) -> None:
        """Make `n_epochs` passes over the rollout, with an optimiser step after each minibatch."""
        assert isinstance(self.policy, SubsetPolicy)
        policy, optimizer, buffer = self.policy, self.policy.optimizer, self.rollout_buffer
        policy.set_training_mode(True)
        self._update_learning_rate(optimizer)
        logged: dict[str, list[float]] = defaultdict(list)
        for _ in range(self.n_epochs):
            for batch in buffer.get(self.minibatch_size):
                output = policy.score(batch.observations) if self.outputs is None else policy.concatenated(self.outputs)
                self.outputs = None
                loss, terms = self.loss(batch, output)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                for name, value in {**terms, "loss": loss}.items():
                    logged[name].append(value.item())
            self._n_updates += 1
        for name, values in logged.items():
            self.logger.record(f"train/{name}", sum(values) / len(values))
        self.logger.record("train/explained_variance", explained_variance(buffer.values, buffer.returns))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_last_obs", "_last_episode_starts", "outputs"]
