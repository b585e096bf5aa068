"""What comes when in a stream, and what takes the place of videos that cannot be read."""

import logging
from collections import Counter

from tats_gym.clips.decoder import ClipDecoder, Order
from tats_gym.clips.journal import Journal, Replacement
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.tasks import Drawn

logger = logging.getLogger(__name__)

ATTEMPTS = 20
"""Videos that are tried for one clip before the stream gives up."""
JUDGED = 100
"""Draws after which the share of replaced ones is held against `max_broken`."""


class Plan:
    """The draws of a seed in their order: what each is cut from follows from the seed and the journal.

    Args:
        decoder: Knows which video an attempt falls on, and the settings.
        length: Videos.
        shard: Rank and number of ranks.
    """

    def __init__(self, decoder: ClipDecoder, length: int, shard: tuple[int, int]) -> None:
        self._decoder, self._length, self._shard = decoder, length, shard
        self.broken: Counter[str] = Counter()
        """Path of each video that could not be read to the number of times."""
        self.journal = Journal()
        """What was replaced."""
        self._done = self._replaced = 0
        self._found: dict[int, list[Replacement]] = {}  # of draws that are not handed out yet
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Order the draws as this seed says, and replace what the journal says was replaced."""
        self.seed = seed
        self._order = Order(seed, self._length, self._shard)
        self._attempts = self.journal.attempts(seed, self._shard)  # of draws that were handed out
        self._found.clear()

    def __len__(self) -> int:
        """Draws of an epoch."""
        return len(self._order)

    def drawn(self, number: int, count: int | None = None) -> Drawn:
        """What is cut at this place, as far as is known which videos can be read: all views, or the first `count`."""
        found = self._found.get(number)
        attempt = found[-1].attempt + 1 if found else self._attempts.get(number, 0)
        return Drawn(self._order[number], attempt, count or self._decoder.config.repeats)

    def failed(self, number: int, drawn: Drawn, cause: str) -> Drawn:
        """Take note that a video could not be read, and return what is cut in its place.

        Raises:
            VideoReadError: Too many in a row could not be read.
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
        """Count a draw that is handed out; raises VideoReadError where too many of them were replaced.

        What was replaced is noted no sooner: of a folder that is gone for a while, a run that goes on knows nothing.
        """
        for replacement in self._found.pop(number, ()):
            self.journal.add(replacement)
        self._done += 1
        self._replaced += number in self._attempts
        self.judge(self._replaced, self._done)

    def judge(self, lost: int, asked: int) -> None:
        """Raise VideoReadError where too many of the clips that were asked for had to be replaced or left out."""
        most = self._decoder.config.max_broken
        if asked >= JUDGED and lost > most * asked:
            raise VideoReadError(
                f"{lost} of {asked} clips could not be read, more than max_broken "
                f"{most}; look at the {len(self.broken)} videos that were named, or check all with "
                "scripts/prepare_data.py verify"
            )
