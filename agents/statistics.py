"""What a handful of seeds can say: means with their intervals, and the smallest difference that they could show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes seconds to import


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    mean: float
    """Of the seeds' values."""
    low: float
    """Lower end of its 95 % interval, by Student's t over seeds."""
    high: float
    """Upper end."""
    detectable: float
    """Smallest true mean, in size, that this many seeds with this spread would tell from zero four times in five."""
    values: tuple[float, ...]
    """One a seed."""

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of independent values; its interval is NaN where there is only one.

    Raises:
        ValueError: If there is none.
    """
    if not values:
        raise ValueError("an estimate needs at least one value, got none")
    count, mean = len(values), float(np.mean(values))
    if count == 1:
        return Estimate(mean, math.nan, math.nan, math.nan, tuple(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = stdtrit(count - 1, 0.975) * error
    detectable = half + stdtrit(count - 1, 0.8) * error
    return Estimate(mean, mean - half, mean + half, float(detectable), tuple(values))
