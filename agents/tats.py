"""TATS: SB3's PPO, whose rollouts stay on the device and whose credit may be each token's own."""

from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from agents.policy import TatsPolicy
from agents.rollouts import Baseline, TokenRolloutBuffer, TokenRollouts
from agents.subset_policy import Credit, SubsetPolicy


class TATS(TokenRollouts, PPO):
    """The trajectory-guided sampler, trained by PPO.

    The loss is PPO's, in SB3's own code: c1 * clipped policy term + c2 * value error - c3 * entropy. Advantages are
    not normalised and gradients not clipped, so that c1, c2, c3 mean what Table 3 says.

    Args:
        policy: "TatsPolicy", or another `SubsetPolicy`.
        env: A `TokenSelectionVecEnv`.
        learning_rate: Of the sampler; Table 1's is made for 800 epochs.
        n_steps: k, environment steps in a rollout; after each the MAE is stepped, after all the sampler.
        n_epochs: PPO's passes over a rollout. With 1, in one minibatch, the ratio is 1 and the clip never acts.
        batch_size: Clips in a minibatch; None for the whole rollout.
        credit: See `TatsPolicy`; "token" is the paper's.
        baseline: What is subtracted from what is paid: the value, the mean over the clip's other masks (group), or
            nothing.
        masks_per_clip: The environment's; masks that are drawn of one clip. `batch_size` counts masks.
        policy_coef: c1.
        vf_coef: c2.
        ent_coef: c3.
        warmup_timesteps: Environment steps with uniform masks and no update before the sampler starts; the paper's m_o.
        reuse_scores: Whether what was computed to draw masks serves the first pass of the update, where that is exact.
        policy_kwargs: Further arguments of the policy; AdamW's betas default to Table 1's, its decay to AdaMAE's.
        kwargs: Further arguments of `PPO`.

    Raises:
        ValueError: If minibatches would part the masks of a clip.
    """

    policy_aliases = {"TatsPolicy": TatsPolicy}  # noqa: RUF012 (SB3's own form)

    def __init__(
        self,
        policy: str | type[SubsetPolicy] = "TatsPolicy",
        env: VecEnv | str | None = None,
        learning_rate: float = 1.5e-6,
        n_steps: int = 1,
        n_epochs: int = 1,
        batch_size: int | None = None,
        *,
        credit: Credit = "token",
        baseline: Baseline = "value",
        masks_per_clip: int = 1,
        policy_coef: float = 1e-4,
        vf_coef: float = 1e-4,
        ent_coef: float = 1e-4,
        warmup_timesteps: int = 0,
        reuse_scores: bool = True,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.warmup_timesteps, self.reuse_scores = warmup_timesteps, reuse_scores
        if batch_size and batch_size % masks_per_clip:
            raise ValueError(
                f"batch_size, in masks, must be a multiple of masks_per_clip, got {batch_size} and {masks_per_clip}"
            )
        num_envs = getattr(env, "num_envs", 1)
        super().__init__(
            policy,
            env,  # type: ignore[arg-type] # None while SB3 loads a zip
            learning_rate,
            n_steps,
            batch_size or n_steps * num_envs,
            n_epochs,
            normalize_advantage=False,
            max_grad_norm=torch.inf,
            vf_coef=vf_coef,
            ent_coef=ent_coef,
            rollout_buffer_class=TokenRolloutBuffer,
            rollout_buffer_kwargs={
                "per_token": credit == "token",
                "baseline": baseline,
                "masks_per_clip": masks_per_clip,
                "policy_coef": policy_coef,
            },
            policy_kwargs={
                "credit": credit,
                "masks_per_clip": masks_per_clip,
                "optimizer_kwargs": {"betas": (0.9, 0.95), "weight_decay": 0.05},
                **(policy_kwargs or {}),
            },
            **kwargs,
        )
