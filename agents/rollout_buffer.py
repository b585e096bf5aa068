"""The rollout buffer: a rollout as tensors on their device, with an advantage for each token, draw or mask."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from tats_gym.agents.marginal_credit import Reach, marginal_advantage, mean_by_token, neighbourhood
from tats_gym.agents.subset_policy import Credit
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.spaces import TokenBox
from tats_gym.masks import hidden_by
from tats_gym.messages import check_choice

Baseline = Literal["value", "group", "dr_grpo", "grpo", "none"]
OF_REWARDS: tuple[Credit, ...] = ("draw", "position", "joint")
"""Forms of credit in which a mask's advantage comes from its reward alone."""


class MaskBatch(NamedTuple):
    """B masks of B / G clips: an environment step, a rollout or a minibatch."""

    observations: Tensor
    """(B / G, L, D)."""
    actions: Tensor
    """(B, K) in draw order."""
    old_values: Tensor
    """(B,), or (B, L) with credit "marginal"."""
    old_log_prob: Tensor
    """(B, M) of hidden tokens with credit "token", (B, K) of draws with "draw" and "marginal", else (B,) of masks."""
    advantages: Tensor
    """In the shape of `old_log_prob`; meaningless where `predicted` is False."""
    returns: Tensor
    """Targets of the values, in the shape of `old_values`; meaningless where `has_return` is False."""
    predicted: Tensor
    """Bool in the shape of `advantages`: False for a hidden token that the MAE did not predict, which has no error."""
    has_return: Tensor
    """Bool in the shape of `returns`: False for a token without an error, visible or not predicted."""


class TokenRolloutBuffer(RolloutBuffer):
    """Stores a rollout of one-step episodes as tensors on their device.

    Credit "token" is the paper's, read as in AdaMAE: each hidden token i has the advantage e_i - V, visible ones have
    none, and V regresses the mean hidden error. Credit "marginal" gives each draw an advantage, see
    `tats_gym.agents.marginal_credit`, and V regresses the error of every hidden token. With any other credit each mask
    has the advantage reward - V, and V regresses the reward.

    Three baselines compare a mask with the clip's others. "group": the mean of the others, as RLOO (arXiv 2402.14740).
    "dr_grpo": the mean of all, as Dr. GRPO (arXiv 2503.20783), which is (G - 1) / G of it. "grpo": that too, divided by
    the std of the G rewards, as GRPO (arXiv 2402.03300), so that each clip counts alike, however much its masks
    differ.

    Args:
        args: As SB3 passes them: buffer_size is k, the environment steps in a rollout.
        credit: As the policy's.
        baseline: V: the value, a mean over the clip's masks, or zero.
        masks_per_clip: G, consecutive masks of the same clip.
        reach: Of credit "marginal", see `neighbourhood`.
        far_weight: Likewise.
        normalize_advantage: Whether a rollout's advantages are brought to mean 0 and std 1. Without it, c1 / c3
            times the advantage is the sampler's inverse temperature.
        kwargs: As SB3 passes them: n_envs is B; gamma and gae_lambda are unused, since an episode is one step.

    Raises:
        ValueError: If the baseline is unknown or does not suit the credit, or masks are compared and there is a single
            one of each clip.
    """

    def __init__(
        self,
        *args: Any,
        credit: Credit,
        baseline: Baseline,
        masks_per_clip: int,
        normalize_advantage: bool,
        reach: Reach | None = None,
        far_weight: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.credit, self.baseline, self.masks_per_clip = credit, baseline, masks_per_clip
        self.normalize_advantage = normalize_advantage
        check_choice("baseline", baseline, get_args(Baseline))
        if baseline in ("group", "dr_grpo", "grpo") and masks_per_clip < 2:
            raise ValueError(
                f"baseline {baseline!r} needs at least two masks a clip, got masks_per_clip {masks_per_clip}"
            )
        if baseline in ("dr_grpo", "grpo") and credit not in OF_REWARDS:
            raise ValueError(
                f"baseline {baseline!r} compares rewards: credit must be one of {OF_REWARDS}, got {credit!r}"
            )
        super().__init__(*args, **kwargs)
        if credit == "marginal":
            assert isinstance(self.observation_space, TokenBox)
            assert reach is not None
            assert far_weight is not None
            weights = neighbourhood(self.observation_space.grid_shape, reach, far_weight)  # (L, L)
            self.weights = weights.to(self.device)

    def reset(self) -> None:
        """Remove the rollout."""
        self.pos, self.full = 0, False
        self._steps: list[MaskBatch] = []
        # Flat arrays for the explained variance and `FiniteWatch`; a mask's log-probabilities are summed.
        self.values, self.returns, self.log_probs = (np.zeros(0, dtype=np.float32) for _ in range(3))

    def add_step(self, tokens: Tensor, ids_keep: Tensor, values: Tensor, log_prob: Tensor, outcome: Outcome) -> None:
        """Store a step: tokens (B / G, L, D), visible tokens (B, K), values (B, 1), (B,) or (B, L), its outcome.

        Raises:
            ValueError: If the policy's credit is not the buffer's.
        """
        if self.credit != "marginal":
            values = values.flatten()
        advantages, predicted, returns, has_return = self._credit(ids_keep, values, outcome)
        if log_prob.shape != advantages.shape:
            raise ValueError(
                f"log-probabilities have shape {tuple(log_prob.shape)}, advantages {tuple(advantages.shape)}; "
                "policy and buffer must have the same credit"
            )
        self._steps.append(MaskBatch(tokens, ids_keep, values, log_prob, advantages, returns, predicted, has_return))
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def _credit(self, ids_keep: Tensor, values: Tensor, outcome: Outcome) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the fields advantages, predicted, returns and has_return of `MaskBatch`."""
        errors, predicted = outcome.errors, outcome.predicted  # (B, L)
        if self.credit == "marginal":
            expected = self._baseline(values, errors, predicted)
            advantages = marginal_advantage(ids_keep, errors, predicted, expected, self.weights)  # (B, K)
            return advantages, torch.ones_like(ids_keep, dtype=torch.bool), errors, predicted
        if self.credit == "token":
            returns = errors.sum(1) / predicted.sum(1)
            hidden = hidden_by(ids_keep, predicted.shape[1])  # (B, M)
            all_true = torch.ones_like(returns, dtype=torch.bool)
            advantages = errors.gather(1, hidden) - self._baseline(values, returns, all_true)[:, None]
            return advantages, predicted.gather(1, hidden), returns, all_true
        rewards, all_true = outcome.rewards, torch.ones_like(outcome.rewards, dtype=torch.bool)
        advantages = rewards - self._baseline(values, rewards, all_true)
        if self.baseline == "grpo":
            stds = rewards.unflatten(0, (-1, self.masks_per_clip)).std(1) + 1e-8
            advantages = advantages / stds.repeat_interleave(self.masks_per_clip)
        if self.credit == "draw":
            return (
                advantages[:, None].expand(ids_keep.shape),
                torch.ones_like(ids_keep, dtype=torch.bool),
                rewards,
                all_true,
            )
        return advantages, all_true, rewards, all_true

    def _baseline(self, values: Tensor, returns: Tensor, has_return: Tensor) -> Tensor:
        """Return V for returns (B,), or (B, L) which are zero where `has_return` is False.

        A token that none of the clip's other masks predicted has their mean over all tokens.
        """
        if self.baseline == "value":
            return values
        if self.baseline == "none":
            return torch.zeros_like(returns)
        if self.baseline in ("dr_grpo", "grpo"):
            means: Tensor = returns.unflatten(0, (-1, self.masks_per_clip)).mean(1)
            return means.repeat_interleave(self.masks_per_clip)
        total, times = (self._sum_of_others(each) for each in (returns, has_return.float()))
        return mean_by_token(total, times).view_as(returns)

    def _sum_of_others(self, numbers: Tensor) -> Tensor:
        """Return for each mask's numbers (B, ...) the sum of those of the clip's other masks, (B, n)."""
        groups = numbers.unflatten(0, (-1, self.masks_per_clip))
        others: Tensor = groups.sum(1, keepdim=True) - groups
        return others.reshape(len(numbers), -1)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[np.bool_]) -> None:
        """Close the rollout, without bootstrapping: every step ended its episode."""
        if self.normalize_advantage:
            self._normalize()
        self.values = torch.cat([step.old_values[step.has_return] for step in self._steps]).cpu().numpy()
        self.returns = torch.cat([step.returns[step.has_return] for step in self._steps]).cpu().numpy()
        log_probs = [step.old_log_prob.reshape(len(step.actions), -1).sum(1) for step in self._steps]
        self.log_probs = torch.cat(log_probs).cpu().numpy()

    def _normalize(self) -> None:
        advantages = torch.cat([step.advantages[step.predicted] for step in self._steps])
        if len(advantages) < 2:  # has no std
            return
        mean, std = advantages.mean(), advantages.std() + 1e-8
        self._steps = [step._replace(advantages=(step.advantages - mean) / std) for step in self._steps]

    def get(self, batch_size: int | None = None) -> Iterator[MaskBatch]:  # type: ignore[override]
        """Yield shuffled minibatches of the rollout, or the whole rollout, uncopied, if it fits in one.

        The masks of a clip stay together and share its observation.

        Raises:
            RuntimeError: If the rollout is incomplete.
        """
        if not self.full:
            raise RuntimeError(
                f"a rollout must be complete to be learned from, it holds {self.pos} of {self.buffer_size} steps; "
                "add the others first"
            )
        size = self.buffer_size * self.n_envs
        if len(self._steps) > 1:
            self._steps = [MaskBatch(*(torch.cat(field) for field in zip(*self._steps, strict=True)))]
        batch_size, rollout = batch_size or size, self._steps[0]
        if batch_size >= size:
            yield rollout
            return
        group = torch.arange(self.masks_per_clip, device=rollout.actions.device)
        clips = torch.randperm(size // self.masks_per_clip, device=rollout.actions.device)
        for chosen in clips.split(batch_size // self.masks_per_clip):
            rows = (chosen[:, None] * self.masks_per_clip + group).flatten()
            yield MaskBatch(rollout.observations[chosen], *(field[rows] for field in rollout[1:]))
