"""Which videos are segments of one film, told from their names and from the note that cutting leaves."""

import os
import re
from collections.abc import Sequence

SETTINGS_FILE = "segments.json"
"""Tells how the segments of a folder were cut, so that it never holds two kinds."""

SEGMENT = re.compile(r"(.+)-[0-9]{4,}")
"""The name of a segment, without its suffix: the name of its video, and a number."""


def films_of(paths: Sequence[str]) -> dict[str, str]:
    """Path of each video that was cut to the name of what it was cut from, its film.

    Segments are known by their names, and by the settings that were noted in their folder or in one above it. A whole
    video of a film's name counts as the film.

    Args:
        paths: Of videos, and of the notes of settings among them.
    """
    folders = tuple(
        os.path.join(os.path.dirname(path), "") for path in paths if os.path.basename(path) == SETTINGS_FILE
    )
    stems = {path: os.path.splitext(os.path.basename(path))[0] for path in paths}
    cut = {
        path: found[1]
        for path, stem in stems.items()
        if path.startswith(folders) and (found := SEGMENT.fullmatch(stem))
    }
    films = set(cut.values())
    return {path: stem for path, stem in stems.items() if stem in films} | cut
