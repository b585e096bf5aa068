"""The report on a verified split, in numbers and in words."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from tats_gym.clips.datasets.index import Header, Row, Status
from tats_gym.datasets import DATASETS
from tats_gym.messages import listed

MAX_LISTED = 10
"""Most causes, sizes and empty classes listed in words; the numbers hold all."""


class Spread(NamedTuple):
    """Minimum, median and maximum of some numbers."""

    least: float
    """The lowest value."""
    median: float
    """The median."""
    most: float
    """The highest value."""

    @classmethod
    def of(cls, values: Iterable[float]) -> Self | None:
        """Return the spread of `values`, or None if there are none."""
        values = list(values)
        return cls(min(values), median(values), max(values)) if values else None

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g}, median {self.median:g}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of verifying a split."""

    header: Header
    """The part that was verified."""
    root: Path
    """The dataset's folder."""
    index: Path
    """The index that was written."""
    official: int | None
    """Number of videos that the dataset's owners give for this part, if any."""
    ok: int
    """Videos that can be used."""
    short: int
    """Usable videos that are shorter than the window."""
    broken: dict[str, str]
    """Path to cause."""
    misplaced: dict[str, str]
    """Path to cause, of videos of which the reader returns wrong frames."""
    clips_per_class: Spread | None
    """Usable videos per class; None without labels."""
    empty_classes: tuple[str, ...]
    """Classes without usable videos."""
    num_frames: Spread | None
    """Frames in the usable videos."""
    fps: Spread | None
    """Frame rates; None where no video has one."""
    sizes: dict[str, int]
    """Width x height to the number of usable videos, the most frequent first."""
    pixel_aspects: dict[str, int]
    """Width of a pixel over its height to the number of usable videos, where it is not 1."""
    seconds: float
    """Time that the last run spent decoding."""

    @classmethod
    def of(cls, header: Header, rows: Sequence[Row], *, root: Path, index: Path, seconds: float) -> Self:
        """Summarise the rows of an index."""
        usable = [row for row in rows if row.finding.usable]
        labels = Counter(row.label for row in usable if row.label is not None)
        labelled = any(row.label is not None for row in rows)
        counts = [labels[number] for number in range(len(header.classes))] if labelled else []
        sizes = Counter(f"{row.finding.width}x{row.finding.height}" for row in usable)
        aspects = Counter(
            f"{row.finding.pixel_aspect:g}" for row in usable if row.finding.pixel_aspect not in (None, 1)
        )
        return cls(
            header=header,
            root=root,
            index=index,
            official=DATASETS[header.data].count(header.split, header.fold),
            ok=sum(row.finding.status == "ok" for row in rows),
            short=sum(row.finding.status == "short" for row in rows),
            broken=_causes(rows, "broken"),
            misplaced=_causes(rows, "misplaced"),
            clips_per_class=Spread.of(counts),
            empty_classes=tuple(name for name, count in zip(header.classes, counts, strict=False) if not count),
            num_frames=Spread.of(row.finding.frames for row in usable if row.finding.frames is not None),
            fps=Spread.of(row.finding.fps for row in usable if row.finding.fps is not None),
            sizes=dict(sizes.most_common()),
            pixel_aspects=dict(aspects.most_common()),
            seconds=round(seconds, 1),
        )

    @property
    def path(self) -> Path:
        """File of the numbers, which names every broken and misplaced video."""
        return self.index.with_suffix(".report.json")

    @property
    def usable(self) -> int:
        """Number of videos from which clips can be cut."""
        return self.ok + self.short

    @property
    def coverage(self) -> float:
        """Share of the annotated videos that exist on the disk, broken or not."""
        return 1 - self.header.missing / self.header.annotated

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values for JSON."""
        spreads = {name: getattr(self, name) for name in ("clips_per_class", "num_frames", "fps")}
        return {
            **asdict(self),
            **{name: spread and spread._asdict() for name, spread in spreads.items()},
            "header": {name: value for name, value in asdict(self.header).items() if name != "classes"},
            "root": str(self.root),
            "index": str(self.index),
            "usable": self.usable,
            "coverage": self.coverage,
        }

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report in words."""
        header = self.header
        fold = f", fold {header.fold}" if header.fold > 1 else ""
        official = "" if self.official is None else f" (officially {self.official:,})"
        yield (
            f"{header.data} {header.split}{fold}: {header.annotated:,} videos annotated{official}, "
            f"{header.missing:,} missing, coverage {self.coverage:.2%}"
        )
        if header.subset is not None:
            yield f"subset {header.subset:g} with seed {header.subset_seed}: {header.videos:,} videos"
        yield (
            f"{self.ok:,} ok, {self.short:,} shorter than {header.frames} x {header.stride} frames, "
            f"{len(self.broken):,} broken, {len(self.misplaced):,} misplaced, {self.seconds:.1f} s"
        )
        for word, causes in (("broken", self.broken), ("misplaced", self.misplaced)):
            for cause, count in Counter(causes.values()).most_common(MAX_LISTED):
                names = [path for path, each in causes.items() if each == cause]
                yield f"  {count:,} {word}: {cause}: {listed(names)}"
        if self.clips_per_class is not None:
            yield f"clips a class: {self.clips_per_class}, {len(self.empty_classes)} classes without a clip"
        if self.empty_classes:
            more = ", ..." if len(self.empty_classes) > MAX_LISTED else ""
            yield f"  without a clip: {', '.join(self.empty_classes[:MAX_LISTED])}{more}"
        if self.num_frames is not None:
            yield f"frames: {self.num_frames}; frames a second: {self.fps}"
            sizes = ", ".join(f"{size} ({count:,})" for size, count in list(self.sizes.items())[:MAX_LISTED])
            more = f" and {len(self.sizes) - MAX_LISTED} others" if len(self.sizes) > MAX_LISTED else ""
            yield f"sizes: {sizes}{more}"
        if self.pixel_aspects:
            aspects = ", ".join(f"{aspect} ({count:,})" for aspect, count in self.pixel_aspects.items())
            yield (
                f"pixels that are not square, width over height: {aspects}; they are taken as square, as by the peers, "
                "unless pixel_aspect is 'apply'"
            )
        yield f"index: {self.index}"
        yield f"report: {self.path}"


def _causes(rows: Sequence[Row], status: Status) -> dict[str, str]:
    return {row.path: str(row.finding.cause) for row in rows if row.finding.status == status}
