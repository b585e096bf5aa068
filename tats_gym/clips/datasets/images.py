"""Image folders: each image a clip of one frame, or each folder of images the frames of a video."""

import os
from collections.abc import Iterable
from pathlib import Path

from tats_gym.clips.datasets.folder_and_list import held_out_names
from tats_gym.clips.datasets.layout import Entry, Listing, Part, Tree
from tats_gym.clips.paths import missing_data
from tats_gym.files.video_files import IMAGE_SUFFIXES


def read_images(tree: Tree, part: Part) -> Listing:
    """Read any folder of images, without labels; about one image in ten is held out, by a hash of its path."""
    return _listing(tree, part, _images(tree))


def read_frames(tree: Tree, part: Part) -> Listing:
    """Read any folder of folders of frames, without labels; about one in ten is held out, by a hash of its path."""
    return _listing(tree, part, dict.fromkeys(os.path.dirname(path) for path in _images(tree)))


def _images(tree: Tree) -> list[str]:
    return [path for path in tree.paths if path.lower().endswith(IMAGE_SUFFIXES)]


def _listing(tree: Tree, part: Part, paths: Iterable[str]) -> Listing:
    names = {os.path.relpath(path, tree.root): path for path in paths}
    if not names:
        raise missing_data(tree.data, tree.root, f"no file there is an image ({' '.join(IMAGE_SUFFIXES)})")
    held_out, _ = held_out_names(names)
    train = part.split == "train"
    chosen = [name for name in names if (name not in held_out) == train or (train and len(names) == 1)]
    return Listing((), [Entry(name, Path(names[name]), None) for name in chosen])
