"""Spaces for tokens and masks: a Box without arrays of bounds, K distinct indices, and a score for each token."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

SCORE_LIMIT = 5.0
"""Bound of a score, rarely reached at unit standard deviation; at a bound of 1 many scores would tie."""


class TokenBox(spaces.Box):
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
        grid_shape: tuple[int, int, int],
        low: float = -np.inf,
        high: float = np.inf,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(low, high, (1,) * len(shape), np.float32, seed)
        self.grid_shape = grid_shape
        self._limits = (low, high)
        self._shape = tuple(shape)
        for name in ("low", "high", "bounded_below", "bounded_above"):
            setattr(self, name, np.broadcast_to(getattr(self, name), self._shape))

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenBox, (self._shape, self.grid_shape, *self._limits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenBox) and self.__reduce__() == other.__reduce__()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"TokenBox({self._shape}, grid_shape={self.grid_shape})"


class Subset(spaces.MultiDiscrete):
    """K distinct indices below L, in any order; `batch` rows of them when batched.

    A MultiDiscrete whose `sample` never repeats an index and whose `contains` rejects repeated ones.

    Args:
        num_tokens: L.
        num_visible: K.
        batch: Rows, B; None for a single action of shape (K,).
        seed: Seed for `sample`.
    """

    def __init__(
        self,
        num_tokens: int,
        num_visible: int,
        batch: int | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if not 0 < num_visible < num_tokens:
            raise ValueError(f"num_visible must lie in (0, {num_tokens}), got {num_visible}")
        self.num_tokens, self.num_visible, self.batch = num_tokens, num_visible, batch
        shape = (num_visible,) if batch is None else (batch, num_visible)
        super().__init__(np.full(shape, num_tokens), seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> NDArray[np.int64]:
        """Draw uniformly from all subsets; masks and probabilities are not supported."""
        if mask is not None or probability is not None:
            raise ValueError("Subset.sample takes neither mask nor probability")
        noise = self.np_random.random((self.batch or 1, self.num_tokens))
        ids = np.argpartition(noise, self.num_visible, axis=1)[:, : self.num_visible].astype(self.dtype)
        return ids[0] if self.batch is None else ids

    def contains(self, x: Any) -> bool:
        """Return whether x is a valid action."""
        if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.integer) or x.shape != self.shape:
            return False
        return first_invalid_index(x.reshape(-1, self.num_visible), self.num_tokens) is None

    def __reduce__(self) -> tuple[Any, ...]:
        return Subset, (self.num_tokens, self.num_visible, self.batch)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subset) and self.__reduce__() == other.__reduce__()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        batch = "" if self.batch is None else f", batch={self.batch}"
        return f"Subset({self.num_visible} of {self.num_tokens}{batch})"


class ScoreBox(spaces.Box):
    """A Box with a score for each of L tokens, of which the K highest become visible.

    Args:
        num_tokens: L.
        num_visible: K.
        batch: Rows, B; None for a single action of shape (L,).
        limit: Scores lie in [-limit, limit].
        seed: Seed for `sample`.
    """

    def __init__(
        self,
        num_tokens: int,
        num_visible: int,
        batch: int | None = None,
        limit: float = SCORE_LIMIT,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if not 0 < num_visible < num_tokens:
            raise ValueError(f"num_visible must lie in (0, {num_tokens}), got {num_visible}")
        self.num_visible, self.batch, self.limit = num_visible, batch, limit
        super().__init__(-limit, limit, (num_tokens,) if batch is None else (batch, num_tokens), np.float32, seed)

    def __reduce__(self) -> tuple[Any, ...]:
        return ScoreBox, (self.shape[-1], self.num_visible, self.batch, self.limit)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreBox) and self.__reduce__() == other.__reduce__()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        batch = "" if self.batch is None else f", batch={self.batch}"
        return f"ScoreBox({self.num_visible} highest of {self.shape[-1]} in [-{self.limit:g}, {self.limit:g}]{batch})"


@batch_space.register(TokenBox)
def _batch_token_box(space: TokenBox, n: int = 1) -> TokenBox:
    return TokenBox((n, *space.shape), space.grid_shape, *space._limits)


@batch_space.register(Subset)
def _batch_subset(space: Subset, n: int = 1) -> Subset:
    return Subset(space.num_tokens, space.num_visible, batch=n, seed=space.np_random)


@batch_space.register(ScoreBox)
def _batch_score_box(space: ScoreBox, n: int = 1) -> ScoreBox:
    return ScoreBox(space.shape[-1], space.num_visible, n, space.limit, space.np_random)


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
