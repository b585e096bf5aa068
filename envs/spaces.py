"""Spaces for tokens and masks: a Box without arrays of bounds, K distinct indices, and a score for each token."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_differing_spaces, batch_space
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from tats_gym.tokens import GridShape

SCORE_LIMIT = 5.0
"""Bound of a score, rarely reached at unit standard deviation; at a bound of 1 many scores would tie."""


class RebuiltSpace(spaces.Space[NDArray[Any]]):
    """A space that copies and pickles as the arguments that made it, with its generator, and equals one made alike.

    The arrays that a Box or MultiDiscrete holds would otherwise be copied and compared at their full size.
    """

    def arguments(self) -> tuple[Any, ...]:
        """Return the positional arguments that make this space."""
        raise NotImplementedError

    def batched(self, count: int) -> "RebuiltSpace":
        """Return the space of `count` samples, with a copy of this space's generator."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.arguments(), self._np_random

    def __setstate__(self, state: Any) -> None:
        self._np_random = state

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RebuiltSpace) and type(self) is type(other) and self.arguments() == other.arguments()

    __hash__ = None  # type: ignore[assignment]


class TokenBox(RebuiltSpace, spaces.Box):
    """A Box for token embeddings (..., L, D) whose bounds take no memory.

    A plain Box holds four arrays of its own size: 700 MiB for 64 clips of 1568 x 768. Here each array is a view of
    one number.

    Args:
        shape: (L, D), or (B, L, D) when batched.
        grid_shape: (t, h, w) with L = t * h * w, for agents that treat time and space separately.
        low: Smallest value.
        high: Largest value.
        seed: Seed for `sample`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        grid_shape: GridShape,
        low: float = -np.inf,
        high: float = np.inf,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(low, high, (1,) * len(shape), np.float32, seed)
        self.grid_shape = grid_shape
        self._limits = (low, high)
        self._shape = tuple(shape)
        for name in ("low", "high", "bounded_below", "bounded_above"):
            setattr(self, name, as_strided(getattr(self, name), self._shape, (0,) * len(shape)))  # writable for PyTorch

    def arguments(self) -> tuple[Any, ...]:
        """Return shape, grid and limits."""
        return self._shape, self.grid_shape, *self._limits

    def batched(self, count: int) -> "TokenBox":
        """Return the space of `count` clips' tokens."""
        return TokenBox((count, *self._shape), self.grid_shape, *self._limits, seed=deepcopy(self.np_random))

    def __repr__(self) -> str:
        return f"TokenBox({self._shape}, grid_shape={self.grid_shape})"


class Subset(RebuiltSpace, spaces.MultiDiscrete):
    """K distinct indices below L, in any order; rows of them when batched.

    A MultiDiscrete whose `sample` never repeats an index and whose `contains` rejects repeated ones.

    Args:
        num_tokens: L.
        num_visible: K.
        batch: Leading dimensions, (B,); without them an action has the shape (K,).
        seed: Seed for `sample`.
    """

    def __init__(
        self,
        num_tokens: int,
        num_visible: int,
        batch: tuple[int, ...] = (),
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if not 0 < num_visible < num_tokens:
            raise ValueError(f"num_visible must lie in (0, {num_tokens}), got {num_visible}")
        self.num_tokens, self.num_visible, self.batch = num_tokens, num_visible, batch
        super().__init__(np.full((*batch, num_visible), num_tokens), seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> NDArray[np.int64]:
        """Draw uniformly from all subsets; masks and probabilities are not supported."""
        if mask is not None or probability is not None:
            raise ValueError("Subset.sample takes neither mask nor probability")
        noise = self.np_random.random((*self.batch, self.num_tokens))
        return np.argpartition(noise, self.num_visible)[..., : self.num_visible].astype(self.dtype)

    def contains(self, x: Any) -> bool:
        """Return whether x is a valid action; lists are taken, as by any MultiDiscrete."""
        if isinstance(x, Sequence):
            x = np.array(x)
        if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.integer) or x.shape != self.shape:
            return False
        return first_invalid_index(x.reshape(-1, self.num_visible), self.num_tokens) is None

    def arguments(self) -> tuple[Any, ...]:
        """Return L, K and the leading dimensions."""
        return self.num_tokens, self.num_visible, self.batch

    def batched(self, count: int) -> "Subset":
        """Return the space of `count` actions."""
        return Subset(self.num_tokens, self.num_visible, (count, *self.batch), deepcopy(self.np_random))

    def __repr__(self) -> str:
        batch = f", batch={self.batch}" if self.batch else ""
        return f"Subset({self.num_visible} of {self.num_tokens}{batch})"


class ScoreBox(RebuiltSpace, spaces.Box):
    """A Box with a score for each of L tokens, of which the K highest become visible.

    Args:
        num_tokens: L.
        num_visible: K.
        batch: Leading dimensions, (B,); without them an action has the shape (L,).
        limit: Scores lie in [-limit, limit].
        seed: Seed for `sample`.
    """

    def __init__(
        self,
        num_tokens: int,
        num_visible: int,
        batch: tuple[int, ...] = (),
        limit: float = SCORE_LIMIT,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if not 0 < num_visible < num_tokens:
            raise ValueError(f"num_visible must lie in (0, {num_tokens}), got {num_visible}")
        self.num_visible, self.batch, self.limit = num_visible, batch, limit
        super().__init__(-limit, limit, (*batch, num_tokens), np.float32, seed)

    def arguments(self) -> tuple[Any, ...]:
        """Return L, K, the leading dimensions and the limit."""
        return self.shape[-1], self.num_visible, self.batch, self.limit

    def batched(self, count: int) -> "ScoreBox":
        """Return the space of `count` actions."""
        batch = (count, *self.batch)
        return ScoreBox(self.shape[-1], self.num_visible, batch, self.limit, deepcopy(self.np_random))

    def __repr__(self) -> str:
        batch = f", batch={self.batch}" if self.batch else ""
        return f"ScoreBox({self.num_visible} highest of {self.shape[-1]} in [-{self.limit:g}, {self.limit:g}]{batch})"


def _batch(space: RebuiltSpace, n: int = 1) -> RebuiltSpace:
    return space.batched(n)


def _batch_of_equals(each: Sequence[RebuiltSpace]) -> RebuiltSpace:
    """Batch equal spaces.

    Raises:
        ValueError: If two differ: the environments of one vector show the same number of the same tokens.
    """
    for space in each:
        if space != each[0]:
            raise ValueError(f"expected equal spaces in a batch, got {each[0]} and {space}")
    return each[0].batched(len(each))


for _kind in (TokenBox, Subset, ScoreBox):  # Gymnasium looks batch_differing_spaces up by the exact type
    batch_space.register(_kind, _batch)
    batch_differing_spaces.register(_kind, _batch_of_equals)


def first_invalid_index(ids: NDArray[Any], num_tokens: int) -> str | None:
    """Describe the first index of rows (B, K) that is out of range, else the first repeated one; None if all fit."""
    out_of_range = (ids < 0) | (ids >= num_tokens)
    if out_of_range.any():
        row, column = np.argwhere(out_of_range)[0]
        return f"token {ids[row, column]} of clip {row} lies outside [0, {num_tokens})"
    ordered = np.sort(ids, axis=1)
    repeated = ordered[:, 1:] == ordered[:, :-1]
    if repeated.any():
        row, column = np.argwhere(repeated)[0]
        return (
            f"token {ordered[row, column]} of clip {row} is chosen more than once; choose distinct tokens, or, for a "
            "policy that draws each index independently, give the environment a score for each (action='scores')"
        )
    return None
