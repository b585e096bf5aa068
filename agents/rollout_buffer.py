"""The rollout buffer: a rollout as tensors on their device, with an advantage for each token or mask."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from tats_gym.envs.token_selection import Outcome
from tats_gym.masks import hidden_by

Baseline = Literal["value", "group", "none"]


class MaskBatch(NamedTuple):
    """B masks of B / G clips: an environment step, a rollout or a minibatch."""

    observations: Tensor
    """(B / G, L, D)."""
    actions: Tensor
    """(B, K) in draw order."""
    old_values: Tensor
    """(B,)."""
    old_log_prob: Tensor
    """(B, M) of hidden tokens with credit "token", else (B,) of masks."""
    advantages: Tensor
    """In the shape of `old_log_prob`; meaningless where `predicted` is False."""
    returns: Tensor
    """(B,)."""
    predicted: Tensor
    """Bool in the same shape: False for a hidden token that the MAE did not predict, which has no error."""


class TokenRolloutBuffer(RolloutBuffer):
    """Stores a rollout of one-step episodes as tensors on their device.

    Credit "token" is the paper's, read as in AdaMAE: each hidden token i has the advantage e_i - V, visible ones have
    none, and V regresses the mean hidden error. With any other credit each mask has the advantage reward - V, and V
    regresses the reward. Advantages are not normalised: c1 / c3 times the advantage is the sampler's inverse
    temperature.

    Args:
        args: As SB3 passes them: buffer_size is k, the environment steps in a rollout.
        per_token: Whether each hidden token has an advantage (credit "token"), or each mask.
        baseline: Subtracted from the return: the value, the mean return of the clip's other masks, or zero.
        masks_per_clip: G, consecutive masks of the same clip.
        kwargs: As SB3 passes them: n_envs is B; gamma and gae_lambda are unused, since an episode is one step.

    Raises:
        ValueError: If the baseline is unknown, or "group" has a single mask of each clip.
    """

    def __init__(
        self, *args: Any, per_token: bool, baseline: Baseline = "value", masks_per_clip: int = 1, **kwargs: Any
    ) -> None:
        self.per_token, self.baseline, self.masks_per_clip = per_token, baseline, masks_per_clip
        if baseline not in get_args(Baseline):
            raise ValueError(f"baseline must be one of {get_args(Baseline)}, got {baseline!r}")
        if baseline == "group" and masks_per_clip < 2:
            raise ValueError(f"baseline 'group' needs at least two masks a clip, got masks_per_clip {masks_per_clip}")
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Remove the rollout."""
        self.pos, self.full = 0, False
        self._steps: list[MaskBatch] = []
        # (B * k,) arrays for the explained variance and `FiniteWatch`; a mask's log-probabilities are summed.
        self.values, self.returns, self.log_probs = (np.zeros(0, dtype=np.float32) for _ in range(3))

    def add_step(self, tokens: Tensor, ids: Tensor, values: Tensor, log_prob: Tensor, outcome: Outcome) -> None:
        """Store an environment step: tokens (B / G, L, D), masks (B, K), values (B, 1) or (B,), and its outcome.

        Raises:
            ValueError: If the policy's credit is not the buffer's.
        """
        values = values.flatten()
        advantages, returns, predicted = self._credit(ids, values, outcome)
        if log_prob.shape != advantages.shape:
            raise ValueError(
                f"log-probabilities have shape {tuple(log_prob.shape)}, advantages {tuple(advantages.shape)}; "
                "policy and buffer must have the same credit"
            )
        self._steps.append(MaskBatch(tokens, ids, values, log_prob, advantages, returns, predicted))
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def _credit(self, ids: Tensor, values: Tensor, outcome: Outcome) -> tuple[Tensor, Tensor, Tensor]:
        """Return the fields advantages, returns and predicted of `MaskBatch`."""
        if not self.per_token:
            advantages = outcome.rewards - self._baseline(values, outcome.rewards)
            return advantages, outcome.rewards, torch.ones_like(advantages, dtype=torch.bool)
        returns = outcome.errors.sum(1) / outcome.mask.sum(1)
        hidden = hidden_by(ids, outcome.mask.shape[1])  # (B, M)
        advantages = outcome.errors.gather(1, hidden) - self._baseline(values, returns)[:, None]
        return advantages, returns, outcome.mask.gather(1, hidden)

    def _baseline(self, values: Tensor, returns: Tensor) -> Tensor:
        if self.baseline == "value":
            return values
        if self.baseline == "none":
            return torch.zeros_like(returns)
        groups = returns.unflatten(0, (-1, self.masks_per_clip))
        others: Tensor = (groups.sum(1, keepdim=True) - groups) / (self.masks_per_clip - 1)
        return others.flatten()

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[np.bool_]) -> None:
        """Close the rollout, without bootstrapping: every step ended its episode."""
        self.values = torch.cat([step.old_values for step in self._steps]).cpu().numpy()
        self.returns = torch.cat([step.returns for step in self._steps]).cpu().numpy()
        log_probs = [step.old_log_prob.reshape(len(step.actions), -1).sum(1) for step in self._steps]
        self.log_probs = torch.cat(log_probs).cpu().numpy()

    def get(self, batch_size: int | None = None) -> Iterator[MaskBatch]:  # type: ignore[override]
        """Yield shuffled minibatches of the rollout, or the whole rollout, uncopied, if it fits in one.

        The masks of a clip stay together and share its observation.

        Raises:
            RuntimeError: If the rollout is incomplete.
        """
        if not self.full:
            raise RuntimeError(f"the rollout holds {self.pos} of {self.buffer_size} steps")
        size = self.buffer_size * self.n_envs
        if len(self._steps) > 1:
            self._steps = [MaskBatch(*(torch.cat(field) for field in zip(*self._steps, strict=True)))]
        batch_size, whole = batch_size or size, self._steps[0]
        if batch_size >= size:
            yield whole
            return
        group = torch.arange(self.masks_per_clip, device=whole.actions.device)
        clips = torch.randperm(size // self.masks_per_clip, device=whole.actions.device)
        for chosen in clips.split(batch_size // self.masks_per_clip):
            rows = (chosen[:, None] * self.masks_per_clip + group).flatten()
            yield MaskBatch(whole.observations[chosen], *(field[rows] for field in whole[1:]))
