"""A journal of replaced draws, so that a resumed run replaces the same ones."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tats_gym.files.atomic import complete_last_line
from tats_gym.files.text import parse_json
from tats_gym.settings.config_io import from_plain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replacement:
    """A draw whose video could not be read."""

    seed: int
    """Seed of the stream."""
    rank: int
    """Rank of the process that drew it."""
    draw: int
    """Number of the draw, counted from the start of the training."""
    attempt: int
    """Number of videos tried before."""
    video: str
    """Path of the unreadable video."""
    cause: str
    """Reason of the failure."""
    ranks: int = 1
    """Number of ranks: with another number the same draw is of another video."""


class Journal:
    """Replacements in the order in which they were made; written line by line once `keep` has set a file.

    A broken file would fail again in a resumed run, but a decoder that hung or a disk that was slow may not.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[int, int, int], dict[int, int]] = {}  # seed, rank, ranks -> see `attempts`
        self._unwritten: list[Replacement] = []
        self._path: Path | None = None

    def keep(self, path: Path) -> None:
        """Read the replacements in the file, add those of this journal, and append later ones."""
        unwritten, self._unwritten, self._attempts, self._path = self._unwritten, [], {}, path
        if path.is_file():
            for each in _read(path):
                self._is_new(each)
            complete_last_line(path)
        for each in unwritten:
            self.add(each)

    def add(self, replacement: Replacement) -> None:
        """Record a replacement, unless it is already known."""
        if not self._is_new(replacement):
            return
        if self._path is None:
            self._unwritten.append(replacement)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(replacement)) + "\n")

    def attempts(self, seed: int, shard: tuple[int, int]) -> dict[int, int]:
        """Return, for each replaced draw, the attempt after the last failure; the dict is updated in place.

        Args:
            seed: Seed of the stream.
            shard: (rank, ranks).
        """
        return self._attempts.setdefault((seed, *shard), {})

    def _is_new(self, replacement: Replacement) -> bool:
        """Keep only the next attempt of a replacement, as a long run makes many; return False if it was known."""
        attempts = self.attempts(replacement.seed, (replacement.rank, replacement.ranks))
        if replacement.attempt < attempts.get(replacement.draw, 0):
            return False
        attempts[replacement.draw] = replacement.attempt + 1
        return True


def _read(path: Path) -> Iterator[Replacement]:
    """Yield the replacements of a file; truncated or damaged lines are skipped with a warning."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        try:
            if line:
                yield from_plain(Replacement, parse_json(line, place))
        except (ValueError, TypeError) as err:
            logger.warning("%s is not a replacement and is skipped (%s)", place, err)
