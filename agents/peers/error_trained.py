"""Samplers that are trained on the errors of hidden tokens, without a value network."""

from typing import Any

import torch
from stable_baselines3 import A2C
from stable_baselines3.common.type_aliases import Schedule

from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.subset_policy import ADAMW, SubsetPolicy
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.settings import EnvConfig
from tats_gym.model.optim import MAEOptimConfig


class ErrorTrained(TokenRollouts, A2C):
    """Collects rollouts whose advantages are the errors of hidden tokens; a subclass gives the loss.

    Args:
        policy: The policy's class.
        env: A `TokenSelectionVecEnv`.
        learning_rate: Learning rate of the sampler.
        n_steps: Environment steps in a rollout. The MAE is updated after each, the sampler after all of them.
        config: The policy's settings.
        masks_per_clip: Masks drawn of each clip; must equal the environment's.
        policy_kwargs: Further arguments of the policy.
        kwargs: Further arguments of `A2C`.
    """

    def __init__(
        self,
        policy: type[SubsetPolicy],
        env: TokenSelectionVecEnv,
        learning_rate: float | Schedule = MAEOptimConfig.base_lr,
        n_steps: int = 1,
        *,
        config: Any,
        masks_per_clip: int = EnvConfig.masks_per_clip,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        shared = {"credit": "token", "masks_per_clip": masks_per_clip}
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            ent_coef=0.0,
            vf_coef=0.0,
            max_grad_norm=torch.inf,
            use_rms_prop=False,
            rollout_buffer_class=TokenRolloutBuffer,
            rollout_buffer_kwargs=shared | {"baseline": "none", "normalize_advantage": False},
            policy_kwargs=shared | {"config": config, "optimizer_kwargs": ADAMW} | (policy_kwargs or {}),
            **kwargs,
        )
