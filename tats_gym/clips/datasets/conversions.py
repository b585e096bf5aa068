"""Advice for lists and folders in known forms that no dataset reads: another id, or a command that converts them."""

import re
from collections.abc import Sequence

from tats_gym.clips.datasets.layout import Entry
from tats_gym.files.video_suffixes import VIDEO_SUFFIXES

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes of extracted frames."""
FROM_FRAMES = (
    "frames are not read, so make a video of each folder of them, as "
    "ffmpeg -framerate 25 -pattern_type glob -i 'FOLDER/*.jpg' -qscale:v 2 FOLDER.mp4"
)


def of_line(line: str) -> str:
    """Return advice for a line of a list that is neither `path label` nor a path; "" for an unknown form."""
    if "youtube_id" in line or re.search(r",\d+,\d+,(train|val|validate|validation|test)\b", line):
        return "; it is a Kinetics list: TatsMask-k400-v0 reads it, beside its videos"
    if re.fullmatch(r"\s*\"?[^,]*\"?,\s*\"?\d+\"?\s*", line):
        return "; put a space in the place of the comma: sed -E 's/,([0-9]+)$/ \\1/' LIST"
    if "," in line:
        return "; write the path and the class number alone, a space between them and no header"
    return ""


def of_missing(entries: Sequence[Entry]) -> str:
    """Return advice where a list names frames, as VideoMAE V2's `path total_frames label`; "" for any other list."""
    frames = [entry for entry in entries if entry.path is None and re.fullmatch(r".*\S[ \t]+\d+", entry.name)]
    if not entries or len(frames) < len(entries):
        return ""
    return f"its lines are `path total_frames label`, folders of frames; {FROM_FRAMES}, and write `FOLDER.mp4 label`"


def of_folder(paths: Sequence[str]) -> str:
    """Describe a folder without a video: pictures, with the command that converts them, or other files."""
    pictures = sum(path.lower().endswith(PICTURES) for path in paths)
    if not pictures:
        return f"no file there is a video ({' '.join(VIDEO_SUFFIXES)})"
    return f"{pictures} files there are pictures and none is a video; {FROM_FRAMES}"
