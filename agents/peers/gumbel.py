"""Masks by backpropagation: Gumbel top-k draws, with a straight-through gradient of the MAE's error."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from stable_baselines3 import A2C
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.policy import SamplerConfig, TatsPolicy
from tats_gym.agents.requirements import with_settings
from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.schedule import warmup_timesteps
from tats_gym.agents.subset_policy import ADAMW, SubsetPolicy
from tats_gym.agents.tats import TatsConfig
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.settings import EnvConfig
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.model.errors import gated_error
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.precision import autocast, to_float32

SIGNS = {"neg_error": 1.0, "gain": 1.0, "error": -1.0}
"""Sign of the error in the loss for each reward; `gain` differs from `neg_error` by a constant."""
HALVINGS = 40
"""Steps of the search for the threshold: its interval shrinks by 1e12."""


@dataclass(frozen=True, kw_only=True)
class GumbelConfig:
    """How hard choices are made soft for the gradient."""

    temperature: float = 1.0
    """Width of the soft choice, in units of the logits: small ones pass a gradient to the tokens at the threshold
    alone."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, temperature="(0, inf)")


def soft_top_k(scores: Tensor, k: int, temperature: float) -> Tensor:
    """Return soft choices (B, L) in (0, 1) whose sum is k: the logistic function of the scores above a threshold.

    They maximise the chosen scores plus temperature times the choices' entropy, among all choices of this sum (Xie et
    al. 2020, arXiv 2002.06504). Their gradient accounts for the threshold, which moves with all scores.

    Args:
        scores: (B, L).
        k: In (0, L).
        temperature: Width of the logistic function.
    """
    with torch.no_grad():
        reach = temperature * 40  # beyond it a choice is 0 or 1 to float32
        low, high = scores.amin(1, keepdim=True) - reach, scores.amax(1, keepdim=True) + reach
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            too_many = ((scores - middle) / temperature).sigmoid().sum(1, keepdim=True) > k
            low, high = torch.where(too_many, middle, low), torch.where(too_many, high, middle)
        threshold = (low + high) / 2  # (B, 1)
        choices = ((scores - threshold) / temperature).sigmoid()
        slopes = choices * (1 - choices)
        shares = slopes / slopes.sum(1, keepdim=True)  # derivative of the threshold by each score
    threshold = threshold + (shares * (scores - scores.detach())).sum(1, keepdim=True)
    return ((scores - threshold) / temperature).sigmoid()


class GumbelTopK(TokenRollouts, A2C):
    """Follows the gradient of the MAE's error through the choice of tokens, where TATS estimates it from rewards.

    Masks are Gumbel top-k draws, as those of every sampler here. The gradient takes a choice as soft: Gumbel noise and
    the logits, through `soft_top_k`; the value stays the hard choice (the straight-through estimator of Jang et al.
    2017, arXiv 1611.01144). It reaches the sampler by two ways, see `gated_error`: through the visible tokens into the
    reconstruction, and through the weight with which a hidden token's error counts. Each mask takes one more forward
    pass of the MAE and a backward pass to its tokens. The loss is c1 times the error, or minus it for the reward
    `error`, minus c3 times the entropy of the first draw.

    Args:
        env: A `TokenSelectionVecEnv`.
        config: Learning rate, n_steps, c1 and c3.
        sampler: Architecture of the network.
        settings: The soft choice.
        masks_per_clip: Masks drawn of each clip; must equal the environment's.
        warmup_timesteps: Uniform masks, without an update, before the sampler starts.
        policy_kwargs: Further arguments of the policy.
        kwargs: Further arguments of `A2C`.

    Raises:
        ValueError: If the reward is no function of the mean error alone.
    """

    extra_forwards = 1
    policy_aliases = {"TatsPolicy": TatsPolicy}  # noqa: RUF012 (SB3's own form)

    def __init__(
        self,
        env: TokenSelectionVecEnv,
        config: TatsConfig | None = None,
        *,
        sampler: SamplerConfig | None = None,
        settings: GumbelConfig | None = None,
        masks_per_clip: int = EnvConfig.masks_per_clip,
        warmup_timesteps: int = 0,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        config, self.settings = config or TatsConfig(), settings or GumbelConfig()
        reward = env.vector_env.config.reward
        if reward not in SIGNS:
            raise ValueError(f"gumbel differentiates the error: reward must be one of {(*SIGNS,)}, got {reward!r}")
        self.sign, self.policy_coef, self.warmup_timesteps = SIGNS[reward], config.policy_coef, warmup_timesteps
        shared = {"credit": "joint", "masks_per_clip": masks_per_clip}
        super().__init__(
            "TatsPolicy",
            env,
            config.learning_rate,
            config.n_steps,
            ent_coef=config.ent_coef,
            vf_coef=0.0,
            max_grad_norm=torch.inf,
            use_rms_prop=False,
            rollout_buffer_class=TokenRolloutBuffer,
            rollout_buffer_kwargs=shared | {"baseline": "none", "normalize_advantage": False},
            policy_kwargs=shared
            | {"sampler": sampler or SamplerConfig(critic="none"), "optimizer_kwargs": ADAMW}
            | (policy_kwargs or {}),
            **kwargs,
        )
        self._terms: list[Tensor] = []

    def step_learning(self, vector_env: TokenSelectionVectorEnv, rollout_buffer: TokenRolloutBuffer) -> Outcome:
        """Draw masks, add the gradient of their errors to the sampler's, and step the environment with them."""
        policy = self.policy
        assert isinstance(policy, SubsetPolicy)
        tokens, num_visible = to_float32(vector_env.observe()), vector_env.clip_buffer.num_visible
        distribution = policy.score(tokens)[0].repeated(policy.masks_per_clip)
        scores = distribution.perturbed()  # (B, L)
        ids_keep = scores.detach().topk(num_visible, dim=1).indices  # (B, K)
        soft = soft_top_k(scores, num_visible, self.settings.temperature)
        with autocast(vector_env.config.precision, vector_env.device):
            error = gated_error(vector_env.mae, vector_env.clip_buffer.pixels, ids_keep, soft - soft.detach()).mean()
        entropy = distribution.entropy().mean()
        loss = self.policy_coef * self.sign * error - self.ent_coef * entropy
        (loss / self.n_steps).backward(inputs=list(policy.parameters()))  # none to the MAE's weights
        self._terms.append(torch.stack((loss, error, entropy)).detach())
        with torch.no_grad():
            log_prob = distribution.showing(num_visible).log_prob(ids_keep).sum(1)
        outcome = vector_env.step_tensors(ids_keep)
        rollout_buffer.add_step(tokens, ids_keep, torch.zeros_like(log_prob), log_prob, outcome)
        return outcome

    def update(self) -> None:
        """Step along the gradient that the rollout gathered."""
        optimizer = self.policy.optimizer
        self._update_learning_rate(optimizer)
        optimizer.step()
        optimizer.zero_grad()
        means = torch.stack(self._terms).mean(0).tolist()
        self._terms = []
        for name, value in zip(("loss", "gated_error", "entropy"), means, strict=True):
            self.logger.record(f"train/{name}", value)
        self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


@with_settings(GumbelConfig)
def build_gumbel(env: TokenSelectionVecEnv, config: PretrainConfig, settings: GumbelConfig) -> GumbelTopK:
    """Make the sampler that follows the gradient of the MAE's error, with the network and the rates of TATS."""
    return GumbelTopK(
        env,
        config.tats,
        sampler=replace(config.sampler, critic="none"),
        settings=settings,
        masks_per_clip=env.vector_env.config.masks_per_clip,
        warmup_timesteps=warmup_timesteps(env, config),
        policy_kwargs={"precision": config.precision},
        seed=config.seed,
        device=env.vector_env.device,
    )
