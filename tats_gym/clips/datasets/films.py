"""Recognises videos that were cut from one film, by their names and the settings file that cutting writes."""

import os
import re
from collections.abc import Sequence

SETTINGS_FILE = "segments.json"
"""Settings with which the segments of a folder were cut, so that it never holds two kinds."""

SEGMENT = re.compile(r"(.+)-[0-9]{4,}")
"""The name of a segment, without its suffix: the name of its video, and a number."""


def films_of(paths: Sequence[str]) -> dict[str, str]:
    """Return the path of each segment, with the name of the film from which it was cut.

    A segment has the name of one, and a settings file in its folder or in one above it. A whole video of a film's name
    counts as the film.

    Args:
        paths: Of videos and settings files.
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
