"""Recognises segments that were cut from one film, by their names and the settings file of the cut."""

import os
import re
from collections.abc import Sequence

SETTINGS_FILE = "segments.json"
"""File with the settings by which the segments of a folder were cut; a folder never holds two kinds."""

SEGMENT = re.compile(r"(.+)-[0-9]{4,}")
"""Name of a segment, without its suffix: the film's name and a number."""


def films_of(paths: Sequence[str]) -> dict[str, str]:
    """Map the path of each segment to the name of the film that it was cut from.

    A video is a segment if its name matches `SEGMENT` and a settings file lies in its folder or above it. A whole video
    with the name of a film belongs to that film.

    Args:
        paths: Paths of videos and settings files.
    """
    folders = tuple(
        os.path.join(os.path.dirname(path), "") for path in paths if os.path.basename(path) == SETTINGS_FILE
    )
    stems = {path: os.path.splitext(os.path.basename(path))[0] for path in paths}
    cut = {
        path: match[1]
        for path, stem in stems.items()
        if path.startswith(folders) and (match := SEGMENT.fullmatch(stem))
    }
    films = set(cut.values())
    return {path: stem for path, stem in stems.items() if stem in films} | cut
