"""The number of visible tokens, K: the grid's at every step, or drawn anew for each batch of clips."""

from dataclasses import dataclass

import numpy as np

from tats_gym.tokens import TokenGrid


@dataclass(frozen=True)
class VisibleCount:
    """Draws K uniformly from an interval around the grid's, as R2MAE draws its mask ratio (arXiv 2509.21650).

    Raises:
        ValueError: If all tokens could be visible, or none.
    """

    grid: TokenGrid
    """Its K is the mean."""
    spread: float
    """Half-width of the interval, as a share of the grid's K; 0 draws nothing."""

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest < self.grid.num_tokens:
            raise ValueError(
                f"visible_spread {self.spread:g} would show {self.smallest} to {self.largest} of "
                f"{self.grid.num_tokens} tokens, but at least one must be visible and one hidden; lower it"
            )

    @property
    def _width(self) -> int:
        return round(self.spread * self.grid.num_visible)

    @property
    def smallest(self) -> int:
        """The smallest K."""
        return self.grid.num_visible - self._width

    @property
    def largest(self) -> int:
        """The largest K, the number of tokens in an action."""
        return self.grid.num_visible + self._width

    def at(self, seed: int, position: int) -> int:
        """Return the K of the clips up to this position of a seed's stream; the grid's for clips requested by id.

        It depends on nothing else: a resumed run draws the same, and all processes of a run draw the same at each step.

        Args:
            seed: The stream's.
            position: The largest of the clips; -1 for clips requested by id.
        """
        if self._width == 0 or position < 0:
            return self.grid.num_visible
        return int(np.random.default_rng((seed, position)).integers(self.smallest, self.largest, endpoint=True))
