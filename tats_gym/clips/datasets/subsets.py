"""Chooses a subset of a dataset by the names of its videos: the same on every machine, a smaller within a larger."""

from collections import defaultdict
from collections.abc import Sequence

from tats_gym.clips.datasets.layout import Video, name_hash


def check_subset(subset: float | None, seed: int) -> None:
    """Raise ValueError for a subset that is neither a share nor a count, and for a negative seed."""
    if subset is not None and not (0 < subset < 1 or (subset >= 1 and float(subset).is_integer())):
        raise ValueError(f"subset must be a share in (0, 1) or a whole number of clips a class, got {subset}")
    if seed < 0:
        raise ValueError(f"subset_seed must not be negative, got {seed}")


def choose_subset(videos: Sequence[Video], subset: float | None, seed: int) -> list[Video]:
    """Return the videos with the lowest hashes of seed and name within each class, in their given order.

    Args:
        videos: Videos of all classes; those without labels count as one class.
        subset: A share of each class, of which at least one video stays, or a number of videos of each class, of
            which all stay where there are fewer; None takes all.
        seed: Each seed gives another choice.
    """
    check_subset(subset, seed)
    if subset is None:
        return list(videos)
    classes = defaultdict(list)
    for index, video in enumerate(videos):
        classes[video.label].append((name_hash(video.name, f"{seed}:"), video.name, index))
    chosen: set[int] = set()
    for members in classes.values():
        count = max(1, round(subset * len(members))) if subset < 1 else int(subset)
        chosen.update(index for _, _, index in sorted(members)[:count])
    return [video for index, video in enumerate(videos) if index in chosen]
