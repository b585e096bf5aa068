"""Writes every dataset's own layout around a handful of small videos."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tats_gym.datasets import DATASETS
from tests.video_files import write_video

SMALL = {
    **{"frames": 4, "tubelet_size": 2, "stride": 1, "size": 32, "patch_size": 16},
    **{"mae": "tiny", "visible": 3, "device": "cpu"},
}
"""Settings that make an environment of 2 x 2 x 2 tokens."""


def moving_frames(seed: int, count: int = 8) -> np.ndarray:
    """A bright square that moves over a slope of grey, another one for each seed: (T, 48, 64, 3)."""
    ground = (np.arange(48)[:, None, None] * 2 + np.arange(64)[:, None] + 5 * seed + np.zeros(3)).astype(np.uint8)
    frames = np.repeat(ground[None], count, axis=0)
    for i in range(count):
        frames[i, 10:26, 4 + 4 * i : 20 + 4 * i] = 200 + seed % 50
    return frames


def write_layout(data: str, root: Path, train: int = 4, validation: int = 2, classes: int = 1) -> Path:
    """Write a dataset of a few videos, of one class or two in turn, as its owner distributes it; returns its root."""
    assert data in DATASETS
    names = {"train": range(train), "validation": range(train, train + validation)}
    files = {split: [_name(data, i, i % classes) for i in ids] for split, ids in names.items()}
    for split, ids in names.items():
        for i, name in zip(ids, files[split], strict=True):
            if data in ("frames", "images"):
                write_images(root / name, moving_frames(i))
                continue
            codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(Path(name).suffix, "libx264")
            write_video(root / name, moving_frames(i), codec=codec)
    write_labels = {
        "ssv2": _ssv2, "demo": _ssv2, "atari": _atari,
        "k400": _k400, "ucf101": _ucf101, "hmdb51": _hmdb51, "list": _list,
    }  # fmt: skip
    if data in write_labels:
        write_labels[data](root, files, CLASSES[:classes])
    return root


def write_images(path: Path, frames: np.ndarray) -> None:
    """Write the first of the frames as an image, or all of them into a folder, if the path has no suffix."""
    if path.suffix:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames[0]).save(path)
        return
    path.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"frame_{number}.png")


def write_two_classes(root: Path, train: int = 8, validation: int = 4) -> Path:
    """Write lists of videos that are bright (class 0) and dark (class 1) in turn; returns their folder."""
    for name, count in (("train", train), ("val", validation)):
        lines = []
        for i in range(count):
            frames = moving_frames(i) // (3 if i % 2 else 1)
            lines.append(f"{write_video(root / name / f'{i}.mp4', frames)} {i % 2}\n")
        (root / f"{name}.csv").write_text("".join(lines))
    return root


CLASSES = ("Jump", "Run")


def _name(data: str, i: int, of_class: int) -> str:
    name = CLASSES[of_class]
    return {
        "ssv2": f"20bn-something-something-v2/{i}.webm",
        "demo": f"20bn-something-something-v2/{i}.webm",
        "atari": f"20bn-something-something-v2/{i}.webm",
        "k400": f"{name.lower()} high/video{i:06d}_000000_000010.mp4",
        "ucf101": f"{name}/v_{name}_g{i:02d}_c01.avi",
        "hmdb51": f"{name.lower()}/it's_#{i}_{name.lower()}.avi",
        "list": f"a class/clip {i}.mp4",
        "folder": f"deep/er/{i}.mp4",
        "frames": f"deep/er/{i}",
        "images": f"deep/er/{i}.png",
    }[data]


Files = dict[str, list[str]]
"""Split to the names of its videos, whose classes take turns."""


def _ssv2(root: Path, files: Files, classes: tuple[str, ...]) -> None:
    labels = root / "labels"
    labels.mkdir()
    names = [f"{name}ing something" for name in classes]
    (labels / "labels.json").write_text(json.dumps({name: str(number) for number, name in enumerate(names)}))
    for split, videos in files.items():
        rows = [
            {
                "id": stem,
                "label": "moving a cup",
                "template": names[int(stem) % len(names)].replace("something", "[something]"),
                "placeholders": ["a cup"],
            }
            for stem in (Path(video).stem for video in videos)
        ]
        (labels / f"{split}.json").write_text(json.dumps(rows))


def _atari(root: Path, files: Files, classes: tuple[str, ...]) -> None:
    _ssv2(root, files, classes)
    counts = {split: len(videos) for split, videos in files.items()}
    (root / "generator.json").write_text(json.dumps({"generator": "Atari set", "version": 1, **counts}))


def _k400(root: Path, files: Files, classes: tuple[str, ...]) -> None:
    for split, name in (("train", "train.csv"), ("validation", "val.csv")):
        rows = [f"{Path(file).parent},{Path(file).stem[:11]},0,10,{split}" for file in files[split]]
        (root / name).write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]) + "\n")


def _ucf101(root: Path, files: Files, classes: tuple[str, ...]) -> None:
    (root / "classInd.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(classes, start=1)))
    lines = [f"{file} {1 + classes.index(Path(file).parent.name)}\n" for file in files["train"]]
    (root / "trainlist01.txt").write_text("".join(lines))
    (root / "testlist01.txt").write_text("".join(f"{file}\n" for file in files["validation"]))


def _hmdb51(root: Path, files: Files, classes: tuple[str, ...]) -> None:
    for name in (name.lower() for name in classes):
        lines = []
        for number, split in enumerate(("train", "validation"), start=1):
            lines += [f"{Path(file).name} {number}\n" for file in files[split] if file.startswith(f"{name}/")]
        (root / f"{name}_test_split1.txt").write_text("".join(lines))


def _list(root: Path, files: Files, classes: tuple[str, ...]) -> None:
    for split, name in (("train", "train.csv"), ("validation", "val.csv")):
        lines = [f"{file} {int(Path(file).stem.split()[-1]) % len(classes)}\n" for file in files[split]]
        (root / name).write_text("".join(lines))
