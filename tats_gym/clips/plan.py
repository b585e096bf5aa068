"""The plan of a stream: the draws in their order, and replacements for unreadable videos."""

import logging
from collections import Counter

from tats_gym.clips.decoder import ClipDecoder, Order
from tats_gym.clips.journal import Journal, Replacement
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.tasks import Drawn

logger = logging.getLogger(__name__)

ATTEMPTS = 20
"""Videos tried for one clip before the stream gives up."""
JUDGED = 100
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
        self._done = self._replaced = 0
        self._found: dict[int, list[Replacement]] = {}  # of draws not delivered yet
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Order the draws by this seed, with the replacements that the journal holds."""
        self.seed = seed
        self._order = Order(seed, self._length, self._shard)
        self._attempts = self.journal.attempts(seed, self._shard)  # of delivered draws
        self._found.clear()

    def __len__(self) -> int:
        """Number of draws in an epoch."""
        return len(self._order)

    def drawn(self, number: int, count: int | None = None) -> Drawn:
        """Return the cut at this place, past the videos known to be unreadable: all views, or the first `count`."""
        found = self._found.get(number)
        attempt = found[-1].attempt + 1 if found else self._attempts.get(number, 0)
        return Drawn(self._order[number], attempt, count or self._decoder.config.repeats)

    def failed(self, number: int, drawn: Drawn, cause: str) -> Drawn:
        """Record an unreadable video, and return the cut that replaces it.

        Raises:
            VideoReadError: Too many videos in a row could not be read.
        """
        path = self._decoder.path(drawn.video(self._decoder))
        if path not in self.broken:
            logger.warning("%s; another video takes its place", cause)
        self.broken[path] += 1
        rank, ranks = self._shard
        replacement = Replacement(self.seed, rank, number, drawn.attempt, path, cause, ranks)
        self._found.setdefault(number, []).append(replacement)
        if drawn.following.attempt >= ATTEMPTS:
            raise VideoReadError(f"{ATTEMPTS} videos in a row could not be read; the last: {cause}")
        return drawn.following

    def done(self, number: int) -> None:
        """Count a delivered draw and journal its replacements; raises VideoReadError if too many draws were replaced.

        Replacements are journalled only here, so that a resumed run does not repeat those of a folder that was briefly
        unreachable.
        """
        for replacement in self._found.pop(number, ()):
            self.journal.add(replacement)
        self._done += 1
        self._replaced += number in self._attempts
        self.judge(self._replaced, self._done)

    def judge(self, lost: int, asked: int) -> None:
        """Raise VideoReadError if too many of the requested clips were replaced or left out."""
        most = self._decoder.config.max_broken
        if asked >= JUDGED and lost > most * asked:
            raise VideoReadError(
                f"{lost} of {asked} clips could not be read, more than max_broken "
                f"{most}; look at the {len(self.broken)} videos that were named, or check all with "
                "scripts/prepare_data.py verify"
            )
