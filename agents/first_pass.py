"""The first pass of an update over a rollout, computed while the rollout was made."""

import torch
from torch import Tensor

from agents.subset_policy import Scores, SubsetPolicy


class FirstPass:
    """Draws masks with gradients on, and has the policy answer the update's first question by the same scores.

    The policy's weights do not change between a rollout and the first pass over it, so that pass would compute what was
    computed to draw. Its graph waits in memory while the MAE is stepped.
    """

    def __init__(self, policy: SubsetPolicy) -> None:
        self._policy = policy
        self._scores: list[Scores] = []
        policy.forget()

    def draw(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose masks for tokens (B, L, D) as the policy does: actions, values and log-probabilities, no graph."""
        with torch.enable_grad():
            scores = self._policy.score(tokens)
            ids, values, log_prob = self._policy.draw(scores)
        self._scores.append(scores)
        return ids, values.detach(), log_prob.detach()

    def close(self, tokens: Tensor) -> None:
        """End the rollout; `tokens`, the very tensor that the update will ask about, are those of all steps."""
        self._policy.keep(tokens, self._scores)
