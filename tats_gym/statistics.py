"""Means of few values, with their intervals and the smallest detectable difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

FEW_CLIPS = 10
"""Number of clips below which `of_clips` warns: the deviation of so few is itself uncertain."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or over clips."""

    mean: float
    """Mean of the values."""
    low: float
    """Lower end of its 95 % interval, by Student's t."""
    high: float
    """Upper end."""
    detectable: float
    """Smallest true mean, in size, that would differ significantly from zero in four of five such samples."""
    values: tuple[float, ...]
    """One per seed, or per clip."""

    @property
    def half_width(self) -> float:
        """Half-width of the interval; NaN where there is only one value."""
        return self.high - self.mean

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of independent values with its interval, which is NaN for a single value.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("an estimate needs at least one value, got none")
    count, mean = len(values), float(np.mean(values))
    if count == 1:
        return Estimate(mean, math.nan, math.nan, math.nan, tuple(values))
    from scipy.special import stdtrit  # takes a second; scipy.stats would take several

    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = stdtrit(count - 1, 0.975) * error
    detectable = half + stdtrit(count - 1, 0.8) * error
    return Estimate(mean, mean - half, mean + half, float(detectable), tuple(values))


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return Wilson's score interval (95 %) of a proportion, which holds for few videos too."""
    z = NormalDist().inv_cdf(0.975)
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


def with_interval(mean: float, half_width: float, sign: str = "") -> str:
    """Format a mean with the half-width of its interval, if that is not NaN."""
    return f"{mean:{sign}.4f}" + ("" if math.isnan(half_width) else f" ± {half_width:.4f}")


def of_clips(count: int) -> str:
    """Return the number of clips that an interval rests on, in words, with a warning where they are few."""
    if count == 1:
        return "1 clip, so no interval"
    return f"{count} clips" if count >= FEW_CLIPS else f"only {count} clips: few"
