"""TATS: PPO over masks with its loss written out, for credit per token, per draw or per mask."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from tats_gym.agents.marginal_credit import Reach
from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.rollout_buffer import Baseline, MaskBatch, TokenRolloutBuffer
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.subset_policy import ADAMW, Credit, PolicyOutput, SubsetPolicy
from tats_gym.envs.settings import EnvConfig
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals


@dataclass(frozen=True, kw_only=True)
class TatsConfig:
    """How the sampler learns. Defaults are from Table 1; where it is silent, they are our reading."""

    learning_rate: float = 1.5e-6
    """AdamW's, constant; Table 1's is for 800 epochs."""
    warmup_epochs: int = 10
    """m_o: epochs at the start with uniform masks, in which the MAE alone is trained; below mae_optim.epochs."""
    n_steps: int = 1
    """k: environment steps, each with a step of the MAE, for one update of the sampler."""
    n_epochs: int = 1
    """PPO's passes over a rollout."""
    batch_size: int | None = None
    """Masks in a PPO minibatch; None takes the whole rollout."""
    clip_range: float = 0.2
    """PPO's; without effect at n_epochs 1 in one minibatch, where the ratio is 1."""
    credit: Credit = "token"
    """Credit: each hidden token has its own error (token, the paper's), each draw the errors that left its
    neighbourhood (marginal), or the mask its reward (draw, position, joint)."""
    reach: Reach = "place"
    """The neighbourhood of a drawn token with credit marginal: the token itself, its place at all times, the places
    beside it too (neighbours), or the whole clip."""
    far_weight: float = 0.0
    """Weight of the errors outside of the neighbourhood, in [0, 1]; their noise is large."""
    normalize_advantage: bool = False
    """Bring the advantages of a rollout to mean 0 and std 1, as PPO does, so that c1 / c3 is in units of their
    std; the paper does not."""
    baseline: Literal["value", "none"] = "value"
    """Baseline of the advantage: the value or none; the agents `group`, `dr_grpo` and `grpo` compare a
    clip's masks."""
    policy_coef: float = 1e-4
    """c1."""
    vf_coef: float = 1e-4
    """c2."""
    ent_coef: float = 1e-4
    """c3; c1 / c3 is the sampler's inverse temperature."""
    reuse_scores: bool = True
    """Score the tokens once for the rollout and the first PPO pass, where that is exact. Its activations wait in
    memory while the MAE is stepped; False saves that memory."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, n_steps="[1, inf)", n_epochs="[1, inf)", batch_size="[1, inf)", warmup_epochs="[0, inf)")
        check_intervals(self, policy_coef="[0, inf)", vf_coef="[0, inf)", ent_coef="[0, inf)")
        check_intervals(self, learning_rate="(0, inf)", clip_range="(0, inf)", far_weight="[0, 1]")


class TATS(TokenRollouts, PPO):
    """The trajectory-guided sampler, trained by PPO.

    Gradients are not clipped and advantages by default not normalised: c1, c2 and c3 mean the same as in Table 3.

    Args:
        policy: "TatsPolicy", or another `SubsetPolicy`.
        env: A `TokenSelectionVecEnv`.
        config: How the sampler learns; its epochs of warm-up are here `warmup_timesteps`.
        baseline: Subtracted from the return: the value, zero, or a mean over the clip's masks, see
            `TokenRolloutBuffer`; None takes the config's.
        masks_per_clip: Masks drawn of each clip; must equal the environment's.
        warmup_timesteps: Uniform masks, without an update, before the sampler starts; the paper's m_o.
        policy_kwargs: Further arguments of the policy, whose optimiser settings default to `ADAMW`.
        kwargs: Further arguments of `PPO`.

    Raises:
        ValueError: If minibatches would split the masks of a clip, or an argument of PPO is not part of this loss.
    """

    policy_aliases = {"TatsPolicy": TatsPolicy}  # noqa: RUF012 (SB3's own form)

    def __init__(
        self,
        policy: str | type[SubsetPolicy] = "TatsPolicy",
        env: VecEnv | str | None = None,
        config: TatsConfig | None = None,
        *,
        baseline: Baseline | None = None,
        masks_per_clip: int = EnvConfig.masks_per_clip,
        warmup_timesteps: int = 0,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        config = config or TatsConfig()
        _check_arguments(config.batch_size, masks_per_clip, kwargs)
        self.warmup_timesteps = warmup_timesteps
        shared = {"credit": config.credit, "masks_per_clip": masks_per_clip}
        self.reuse_scores, self.policy_coef = config.reuse_scores, config.policy_coef
        super().__init__(
            policy,
            env,  # type: ignore[arg-type] # None while SB3 loads a zip
            config.learning_rate,
            config.n_steps,
            config.batch_size or config.n_steps * getattr(env, "num_envs", 1),
            config.n_epochs,
            clip_range=config.clip_range,
            normalize_advantage=False,  # by the buffer if it is asked to, over the whole rollout
            max_grad_norm=torch.inf,
            vf_coef=config.vf_coef,
            ent_coef=config.ent_coef,
            rollout_buffer_class=TokenRolloutBuffer,
            rollout_buffer_kwargs=shared
            | {
                "baseline": baseline or config.baseline,
                "reach": config.reach,
                "far_weight": config.far_weight,
                "normalize_advantage": config.normalize_advantage,
            },
            policy_kwargs=shared | {"optimizer_kwargs": ADAMW} | (policy_kwargs or {}),
            **kwargs,
        )

    def loss(self, batch: MaskBatch, output: PolicyOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the supplement's loss of a minibatch, c1 * policy + c2 * value - c3 * entropy, and its terms.

        c1, c2 and c3 of Table 3 are `policy_coef`, `vf_coef` and `ent_coef`.

        policy   -mean of min(r A, clip(r, 1 - eps, 1 + eps) A), with the ratio r = p / p_old and the advantage A of
                 `TokenRolloutBuffer`.
                 Credit "token": over the hidden tokens that the MAE predicts, p that of the token; "draw" and
                 "marginal": over draws, p that of the draw; else over masks.
        value    mean of (V - return)^2; credit "marginal": over hidden tokens that the MAE predicts
        entropy  mean entropy of the categorical over all L tokens, the first draw

        Args:
            batch: B masks; advantages and old log-probabilities are (B, M) with credit "token", (B, K) with
                "draw" and "marginal", else (B,).
            output: The policy's `score` of the batch's observations under the current weights.
        """
        assert isinstance(self.policy, SubsetPolicy)
        assert callable(self.clip_range)
        values, log_prob, entropy = self.policy.evaluate_output(output, batch.actions.long())
        epsilon = self.clip_range(self._current_progress_remaining)
        ratio = (log_prob - batch.old_log_prob).exp()
        clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
        surrogate = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)  # (B, M), (B, K) or (B,)
        policy_loss = -(surrogate * batch.predicted).sum() / batch.predicted.sum()
        value_errors = (values.view_as(batch.returns) - batch.returns).square()  # (B,) or (B, L)
        value_loss = (value_errors * batch.has_return).sum() / batch.has_return.sum()
        entropy_loss = -entropy.mean()
        terms = {"entropy_loss": entropy_loss, "policy_gradient_loss": policy_loss, "value_loss": value_loss}
        with torch.no_grad():
            terms["clip_fraction"] = ((ratio - 1).abs() > epsilon).float().mean()
            terms["approx_kl"] = (ratio - 1 - (log_prob - batch.old_log_prob)).mean()
            if self.ent_coef > 0:
                std = batch.advantages[batch.predicted].std(correction=0)
                terms["inverse_temperature"] = self.policy_coef * std / self.ent_coef
        # In this order, whose rounding seeded runs repeat.
        return self.policy_coef * policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss, terms


def _check_arguments(batch_size: int | None, masks_per_clip: int, kwargs: dict[str, Any]) -> None:
    """Raise ValueError if minibatches split the masks of a clip, or an argument of PPO is not part of our loss."""
    if batch_size and batch_size % masks_per_clip:
        raise ValueError(
            f"batch_size, in masks, must be a multiple of masks_per_clip, got {batch_size} and {masks_per_clip}"
        )
    for name in ("clip_range_vf", "target_kl"):
        if kwargs.get(name) is not None:
            raise ValueError(f"{name} is not part of this loss, got {kwargs[name]}; leave it out")
