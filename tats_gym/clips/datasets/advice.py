"""Advice for lists and folders in known forms that a dataset does not read: another id, or a command."""

import re
from collections.abc import Sequence

from tats_gym.files.video_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def advice_for_line(line: str) -> str:
    """Return advice for a line of a list that is neither `path label` nor a path; "" for an unknown form."""
    if "youtube_id" in line or re.search(r",\d+,\d+,(train|val|validate|validation|test)\b", line):
        return "; it is a Kinetics list: TatsMask-k400-v0 reads it, beside its videos"
    if re.fullmatch(r"\s*\"?[^,]*\"?,\s*\"?\d+\"?\s*", line):
        return "; put a space in the place of the comma: sed -E 's/,([0-9]+)$/ \\1/' LIST"
    if re.search(r"\bstart_|\bstart\b|\bstop_", line) and "," in line:
        return "; segments need a header with the columns path,start,end,label (or without label): rename yours"
    if "," in line:
        return "; write the path and the class number alone, a space between them and no header"
    return ""


def advice_for_folder(paths: Sequence[str]) -> str:
    """Describe a folder without a video: images, with the ids that read them, or other files."""
    images = sum(path.lower().endswith(IMAGE_SUFFIXES) for path in paths)
    if not images:
        return f"no file there is a video ({' '.join(VIDEO_SUFFIXES)})"
    return (
        f"{images} files there are images and none is a video; TatsMask-frames-v0 reads folders of frames, "
        "TatsMask-images-v0 single images"
    )
