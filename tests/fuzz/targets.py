"""All targets, and how many inputs each gets."""

from collections.abc import Sequence

from tests.fuzz import annotations, records, settings, videos, weights
from tests.fuzz.target import Target

TARGETS: list[Target] = [
    *annotations.TARGETS,
    *settings.TARGETS,
    *records.TARGETS,
    *weights.TARGETS,
    *videos.TARGETS,
]


def shares(targets: Sequence[Target], inputs: int) -> dict[str, int]:
    """Divide so many inputs among targets by their shares; each gets one at least."""
    total = sum(target.share for target in targets)
    return {target.name: max(1, round(inputs * target.share / total)) for target in targets}
