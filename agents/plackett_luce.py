"""The Plackett-Luce distribution over masks: K of L tokens drawn one after another without replacement."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl
from torch.nn import functional as F

from tats_gym.train.precision import to_float32


class PlackettLuce(Distribution):
    """Draws K of L tokens without replacement, each with probability proportional to exp(logit) among those left.

    Computes in float32 or better for logits of any precision: Gumbel noise in half precision ties near the K-th place.

    Args:
        logits: (B, L), unnormalised.
        num_visible: K.

    Raises:
        ValueError: If K is not in (0, L).
    """

    arg_constraints = {}  # noqa: RUF012 (PyTorch's own form)

    def __init__(self, logits: Tensor, num_visible: int) -> None:
        if not 0 < num_visible < logits.shape[-1]:
            raise ValueError(f"num_visible must lie in (0, {logits.shape[-1]}), got {num_visible}")
        self.logits = to_float32(logits)
        self.num_visible = num_visible
        super().__init__(logits.shape[:-1], torch.Size((num_visible,)), validate_args=False)

    def showing(self, num_visible: int) -> "PlackettLuce":
        """Return the distribution over masks with this number of visible tokens."""
        return PlackettLuce(self.logits, num_visible)

    def repeated(self, times: int) -> "PlackettLuce":
        """Return the distribution with each row repeated in `times` consecutive rows: (B * times, L)."""
        return self if times == 1 else PlackettLuce(self.logits.repeat_interleave(times, 0), self.num_visible)

    @cached_property
    def token_log_prob(self) -> Tensor:
        """(B, L) log-probability of each token in the first draw, a categorical over all tokens."""
        return self.logits.log_softmax(-1)

    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw (*sample_shape, B, K) token ids in draw order, by Gumbel top-k; `generator` is on the logits' device."""
        with torch.no_grad():
            return self.perturbed(sample_shape, generator).topk(self.num_visible, dim=-1).indices

    def perturbed(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Return the logits plus Gumbel noise (*sample_shape, B, L), whose K highest are a draw."""
        noise = self.logits.new_empty((*sample_shape, *self.logits.shape))
        return self.logits - noise.exponential_(generator=generator).log()

    @property
    def mode(self) -> Tensor:
        """The K most likely tokens (B, K), in descending order."""
        return self.logits.topk(self.num_visible, dim=-1).indices

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability (..., B, K) of each draw given those before it; the joint one is their sum."""
        logits = self.logits.expand(*value.shape[:-1], -1)
        return logits.gather(-1, value) - self._left(value, logits)

    def _left(self, ids_keep: Tensor, values: Tensor | None = None) -> Tensor:
        """Return the log of the total weight (B, K) of the tokens left before each draw.

        The sum runs from the last draw back to the first: adding drawn weights to the undrawn ones stays exact where
        subtracting them from the total would cancel. Weights are exp(logit), or exp(value) of given `values` (B, L).
        """
        values = self.logits if values is None else values
        never = values.scatter(-1, ids_keep, -torch.inf).logsumexp(-1, keepdim=True)  # (B, 1)
        drawn_last_first = values.gather(-1, ids_keep).flip(-1)
        return torch.cat((never, drawn_last_first), -1).logcumsumexp(-1)[..., 1:].flip(-1)

    def entropy(self) -> Tensor:
        """Return the entropy (B,) of the first draw: the H of TATS's objective."""
        return -(self.token_log_prob.exp() * self.token_log_prob).sum(-1)

    def entropy_along(self, ids_keep: Tensor) -> Tensor:
        """Estimate the entropy (B,) of all K ordered draws: the sum of the draws' exact entropies along `ids_keep`.

        Unbiased over sampled `ids_keep`, with a far smaller deviation than -log_prob. About K times `entropy`; logged,
        never optimised.
        """
        left = self._left(ids_keep)  # (B, K)
        # The entropy is left minus the mean logit of the tokens left. That mean is computed as above minus a mean of
        # positive numbers, whose logarithm exists: it stays finite where the tokens left were unlikely at first.
        above = self.logits.detach().amax(-1, keepdim=True) + 1
        mean_below = (self._left(ids_keep, self.logits + (above - self.logits).log()) - left).exp()
        return (left - above + mean_below).sum(-1)


@register_kl(PlackettLuce, PlackettLuce)  # type: ignore[untyped-decorator]
def kl_along_a_draw(p: PlackettLuce, q: PlackettLuce) -> Tensor:
    """Estimate KL(p || q) (B,) of all K ordered draws: the sum of each draw's exact divergence, along a sample from p.

    At p = q its gradient and curvature equal those of the divergence in expectation. Needs memory for K * L numbers in
    each row; unlike `log_prob`, it is twice differentiable.
    """
    chosen = F.one_hot(p.sample(), p.logits.shape[-1])  # (B, K, L)
    gone = (chosen.cumsum(-2) - chosen).bool()  # drawn before
    left_p, left_q = (each.logits[..., None, :].masked_fill(gone, -torch.inf).log_softmax(-1) for each in (p, q))
    return (left_p.exp() * (left_p - left_q).masked_fill(gone, 0)).sum((-2, -1))
