"""The distribution over masks: K of L tokens drawn one after another without replacement (Plackett-Luce)."""

from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution, register_kl
from torch.nn import functional as F

from tats_gym.train.precision import accurate


class PlackettLuce(Distribution):
    """Draw K of L tokens without replacement, each draw in proportion to exp(logit) among the tokens left.

    Everything is computed in float32 or better whatever the logits come in: noise in half precision ties at the
    boundary.

    Args:
        logits: (B, L), unnormalised.
        num_visible: K.
    """

    arg_constraints = {}  # noqa: RUF012 (PyTorch's own form)

    def __init__(self, logits: Tensor, num_visible: int) -> None:
        if not 0 < num_visible < logits.shape[-1]:
            raise ValueError(f"num_visible must lie in (0, {logits.shape[-1]}), got {num_visible}")
        self.logits = accurate(logits)
        self.num_visible = num_visible
        super().__init__(logits.shape[:-1], torch.Size((num_visible,)), validate_args=False)

    def repeated(self, times: int) -> "PlackettLuce":
        """Return the distribution of every row `times` times, one after the other: (B * times, L)."""
        return self if times == 1 else PlackettLuce(self.logits.repeat_interleave(times, 0), self.num_visible)

    @cached_property
    def token_log_prob(self) -> Tensor:
        """(B, L) log-probability of every token at the first draw: the plain categorical's."""
        return self.logits.log_softmax(-1)

    def sample(  # type: ignore[override] # one draw a row
        self, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw (B, K) token ids in draw order, by Gumbel top-k; `generator` must be on the logits' device."""
        gumbel = -torch.empty_like(self.logits).exponential_(generator=generator).log()
        return (self.logits.detach() + gumbel).topk(self.num_visible, dim=-1).indices

    @property
    def mode(self) -> Tensor:
        """The K likeliest tokens (B, K), the likeliest first."""
        return self.logits.topk(self.num_visible, dim=-1).indices

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability (B, K) of each draw given the draws before it; their sum is the joint one."""
        return self.logits.gather(-1, value) - self._left(value)

    def _left(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Log of the total weight (B, K) left in the urn before each draw, summed from the last draw backwards.

        Adding what was drawn to what was never drawn stays exact where subtracting from the total would cancel. Each
        weight is exp(logit), or exp(value) of other values (B, L).
        """
        values = self.logits if values is None else values
        never = values.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)  # (B, 1)
        drawn_last_first = values.gather(-1, ids).flip(-1)
        return torch.cat((never, drawn_last_first), -1).logcumsumexp(-1)[..., 1:].flip(-1)

    def entropy(self) -> Tensor:
        """Return the entropy (B,) of the first draw, the plain categorical's: the H of TATS's objective."""
        return -(self.token_log_prob.exp() * self.token_log_prob).sum(-1)

    def entropy_along(self, ids: Tensor) -> Tensor:
        """Estimate the entropy (B,) of the whole ordered draw: each draw's exact entropy, summed along `ids`.

        Its mean over draws is the entropy, with a far smaller deviation than -log_prob's. About K times `entropy`;
        logged, never optimised.
        """
        left = self._left(ids)  # (B, K)
        # The mean logit of what is left is taken below a number that is above all logits, so that the mean is of
        # positive numbers: as a difference of logarithms it is finite also where what is left was unlikely at first.
        above = self.logits.detach().amax(-1, keepdim=True) + 1
        mean_below = (self._left(ids, self.logits + (above - self.logits).log()) - left).exp()
        return (left - above + mean_below).sum(-1)


@register_kl(PlackettLuce, PlackettLuce)  # type: ignore[untyped-decorator]
def kl_along_a_draw(p: PlackettLuce, q: PlackettLuce) -> Tensor:
    """Estimate KL(p || q) (B,) over the whole ordered draw: each draw's exact divergence, summed along one from p.

    Where p and q are equal, its gradient and curvature are in the mean those of the divergence itself. Takes memory for
    K * L numbers a row, and can be differentiated twice, as `log_prob` cannot.
    """
    chosen = F.one_hot(p.sample(), p.logits.shape[-1])  # (B, K, L)
    gone = (chosen.cumsum(-2) - chosen).bool()  # drawn before
    left_p, left_q = (each.logits[..., None, :].masked_fill(gone, -torch.inf).log_softmax(-1) for each in (p, q))
    return (left_p.exp() * (left_p - left_q).masked_fill(gone, 0)).sum((-2, -1))
