"""Remembers which draws were replaced, so that a resumed run replaces the same ones."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tats_gym.files.atomic import end_line
from tats_gym.files.config_io import from_plain
from tats_gym.files.text import parse_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replacement:
    """A draw whose video could not be read."""

    seed: int
    """Of the stream."""
    rank: int
    """Of the process that drew it."""
    draw: int
    """Its number, counted from the start of the training."""
    attempt: int
    """How many videos had been tried before."""
    video: str
    """Path of the video that could not be read."""
    cause: str
    """Why."""
    ranks: int = 1
    """Processes that drew: with others the same draws are of other videos."""


class Journal:
    """Replacements in the order in which they were made; written line by line once `keep` has named a file.

    Broken files would be found broken again, but a decoder that hung, or a disk that was slow, may not.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[int, int, int], dict[int, int]] = {}  # seed, rank, ranks -> see `attempts`
        self._unwritten: list[Replacement] = []
        self._path: Path | None = None

    def keep(self, path: Path) -> None:
        """Read what the file holds, and write all that is missing there, now and from now on."""
        unwritten, self._unwritten, self._attempts, self._path = self._unwritten, [], {}, path
        if path.is_file():
            for each in _read(path):
                self._is_new(each)
            end_line(path)
        for each in unwritten:
            self.add(each)

    def add(self, replacement: Replacement) -> None:
        """Take note of a replacement; one that is known already is not written again."""
        if not self._is_new(replacement):
            return
        if self._path is None:
            self._unwritten.append(replacement)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(replacement)) + "\n")

    def attempts(self, seed: int, shard: tuple[int, int]) -> dict[int, int]:
        """Return, for each draw that was replaced, the attempt that comes after the last one that failed; it grows.

        Args:
            seed: Of the stream.
            shard: Rank and number of ranks.
        """
        return self._attempts.setdefault((seed, *shard), {})

    def _is_new(self, replacement: Replacement) -> bool:
        """Remember a replacement, as little of it as is needed: hours make many. False where it was known."""
        attempts = self.attempts(replacement.seed, (replacement.rank, replacement.ranks))
        if replacement.attempt < attempts.get(replacement.draw, 0):
            return False
        attempts[replacement.draw] = replacement.attempt + 1
        return True


def _read(path: Path) -> Iterator[Replacement]:
    """What the lines hold; those that were cut off or damaged are passed over, which is said."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        try:
            if line:
                yield from_plain(Replacement, parse_json(line, place))
        except (ValueError, TypeError) as err:
            logger.warning("%s is no replacement, and is passed over (%s)", place, err)
