"""Writes every dataset's own layout around a handful of small videos."""

import json
from pathlib import Path

import numpy as np

from tats_gym.registration import DATASETS
from tests.video_files import write_video

SMALL = {"frames": 4, "stride": 1, "size": 32, "mae": "tiny", "visible": 3, "device": "cpu"}
"""Settings that make an environment of 2 x 2 x 2 tokens."""


def moving_frames(seed: int, count: int = 8) -> np.ndarray:
    """A bright square that moves over a slope of grey, another one for each seed: (T, 48, 64, 3)."""
    ground = (np.arange(48)[:, None, None] * 2 + np.arange(64)[:, None] + 5 * seed + np.zeros(3)).astype(np.uint8)
    frames = np.repeat(ground[None], count, axis=0)
    for i in range(count):
        frames[i, 10:26, 4 + 4 * i : 20 + 4 * i] = 200 + seed % 50
    return frames


def write_layout(data: str, root: Path, train: int = 4, validation: int = 2) -> Path:
    """Write a dataset of a few videos as its owner distributes it; returns its root."""
    assert data in DATASETS
    names = {"train": range(train), "validation": range(train, train + validation)}
    files = {split: [_name(data, i) for i in ids] for split, ids in names.items()}
    for split, ids in names.items():
        for i, name in zip(ids, files[split], strict=True):
            codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(Path(name).suffix, "libx264")
            write_video(root / name, moving_frames(i), codec=codec)
    if data in ("ssv2", "demo"):
        _ssv2(root, files)
    elif data == "k400":
        for split, name in (("train", "train.csv"), ("validation", "val.csv")):
            rows = [f"a class,{Path(file).stem[:11]},0,10,{split}" for file in files[split]]
            (root / name).write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]) + "\n")
    elif data == "ucf101":
        (root / "classInd.txt").write_text("1 Jump\n")
        (root / "trainlist01.txt").write_text("".join(f"{file} 1\n" for file in files["train"]))
        (root / "testlist01.txt").write_text("".join(f"{file}\n" for file in files["validation"]))
    elif data == "hmdb51":
        lines = [f"{Path(file).name} 1\n" for file in files["train"]]
        lines += [f"{Path(file).name} 2\n" for file in files["validation"]]
        (root / "jump_test_split1.txt").write_text("".join(lines))
    elif data == "list":
        for split, name in (("train", "train.csv"), ("validation", "val.csv")):
            (root / name).write_text("".join(f"{file} 0\n" for file in files[split]))
    return root


def write_two_classes(root: Path, train: int = 8, validation: int = 4) -> Path:
    """Write lists of videos that are bright (class 0) and dark (class 1) in turn; returns their folder."""
    for name, count in (("train", train), ("val", validation)):
        lines = []
        for i in range(count):
            frames = moving_frames(i) // (3 if i % 2 else 1)
            lines.append(f"{write_video(root / name / f'{i}.mp4', frames)} {i % 2}\n")
        (root / f"{name}.csv").write_text("".join(lines))
    return root


def _name(data: str, i: int) -> str:
    return {
        "ssv2": f"20bn-something-something-v2/{i}.webm",
        "demo": f"20bn-something-something-v2/{i}.webm",
        "k400": f"a class/video{i:06d}_000000_000010.mp4",
        "ucf101": f"Jump/v_Jump_g{i:02d}_c01.avi",
        "hmdb51": f"jump/it's_#{i}_jump.avi",
        "list": f"a class/clip {i}.mp4",
        "folder": f"deep/er/{i}.mp4",
    }[data]


def _ssv2(root: Path, files: dict[str, list[str]]) -> None:
    labels = root / "labels"
    labels.mkdir()
    (labels / "labels.json").write_text(json.dumps({"Moving something": "0"}))
    for split, names in files.items():
        rows = [
            {"id": Path(n).stem, "label": "moving a cup", "template": "Moving [something]", "placeholders": ["a cup"]}
            for n in names
        ]
        (labels / f"{split}.json").write_text(json.dumps(rows))
