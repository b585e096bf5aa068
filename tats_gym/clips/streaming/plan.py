"""The plan of a stream: the draws in their order, and replacements for unreadable videos."""

import logging
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.decoder import ClipDecoder, EpochOrder
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.streaming.journal import Journal, Replacement
from tats_gym.clips.streaming.tasks import TrainCut

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 20
"""Videos tried for one clip before the stream gives up."""
MIN_DRAWS = 100
"""Number of draws from which on the share of replaced ones is compared with `max_broken`."""


class Plan:
    """The draws of a seed in their order; the seed and the journal determine the video of each.

    Args:
        decoder: Maps attempts to videos, and holds the settings.
        length: Number of videos.
        shard: (rank, ranks).
    """

    def __init__(self, decoder: ClipDecoder, length: int, shard: tuple[int, int]) -> None:
        self._decoder, self._length, self._shard = decoder, length, shard
        self.broken: Counter[str] = Counter()
        """Path of each unreadable video to its number of failures."""
        self.journal = Journal()
        """The replacements of draws that were delivered."""
        self._num_delivered = self._num_replaced = 0
        self._pending: dict[int, list[Replacement]] = {}  # of draws not delivered yet
        self.restart(0)

    def restart(self, seed: int) -> None:
        """Order the draws by this seed, with the replacements that the journal holds."""
        self.seed = seed
        self._order = EpochOrder(seed, self._length, self._shard)
        self._attempts = self.journal.attempts(seed, self._shard)  # of delivered draws
        self._pending.clear()

    def __len__(self) -> int:
        """Return the number of draws in an epoch."""
        return len(self._order)

    def cut(self, number: int, count: int | None = None) -> TrainCut:
        """Return the cut at this place, past the videos known to be unreadable: all views, or the first `count`."""
        replacements = self._pending.get(number)
        attempt = replacements[-1].attempt + 1 if replacements else self._attempts.get(number, 0)
        return TrainCut(self._order[number], attempt, count or self._decoder.config.repeats)

    def videos(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the videos (n,) that are drawn at these places (n,), before any is replaced."""
        return self._order.videos(numbers)

    def replace(self, number: int, cut: TrainCut, cause: str) -> TrainCut:
        """Record an unreadable video, and return the cut that replaces it.

        Raises:
            VideoReadError: If too many videos in a row could not be read.
        """
        path = self._decoder.path(cut.video(self._decoder))
        if path not in self.broken:
            logger.warning("%s; another video takes its place", cause)
        self.broken[path] += 1
        rank, ranks = self._shard
        replacement = Replacement(self.seed, rank, number, cut.attempt, path, cause, ranks)
        self._pending.setdefault(number, []).append(replacement)
        if cut.next_attempt.attempt >= MAX_ATTEMPTS:
            raise VideoReadError(f"{MAX_ATTEMPTS} videos in a row could not be read; the last: {cause}")
        return cut.next_attempt

    def count_delivered(self, number: int) -> None:
        """Count a delivered draw and journal its replacements; raises VideoReadError if too many draws were replaced.

        Replacements are journalled only here, so that a resumed run does not repeat those of a folder that was briefly
        unreachable.
        """
        for replacement in self._pending.pop(number, ()):
            self.journal.add(replacement)
        self._num_delivered += 1
        self._num_replaced += number in self._attempts
        self.check_broken_share(self._num_replaced, self._num_delivered)

    def check_broken_share(self, failed: int, requested: int) -> None:
        """Raise VideoReadError if too many of the requested clips were replaced or left out."""
        max_broken = self._decoder.config.max_broken
        if requested >= MIN_DRAWS and failed > max_broken * requested:
            raise VideoReadError(
                f"{failed} of {requested} clips could not be read, more than max_broken "
                f"{max_broken}; look at the {len(self.broken)} videos that were named, or check all with "
                "tats-gym prepare verify"
            )
