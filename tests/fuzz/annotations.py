"""The lists of every dataset's layout, and the index: read to videos with their classes, or refused by name."""

import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from tats_gym.clips import MissingDataError, VideoList, list_videos
from tats_gym.clips.datasets.folder_and_list import write_list
from tats_gym.clips.datasets.index import Finding, Header, Row, index_name, write_index
from tats_gym.clips.datasets.layout import Part
from tests.fuzz.mutators import BYTES, JSON, TEXT, Mutation
from tests.fuzz.target import READ, Target, expect, refused

CLASSES = ("Jump high", "Run")
FOLDERS = ("Jump", "Run")
ANNOTATIONS = {
    "ssv2": ["*.json"],
    "k400": ["*.csv"],
    "ucf101": ["*.txt"],
    "hmdb51": ["*.txt"],
    "list": ["*.csv"],
}
"""The damaged file of each dataset."""


def make_layout(data: str, root: Path) -> None:
    """Write a dataset of eight videos in two classes, whose files are empty: no test opens them here."""
    texts, videos = {"ssv2": _ssv2, "k400": _k400, "ucf101": _ucf101, "hmdb51": _hmdb51, "list": _list}[data]()
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    for video in videos:
        (root / video).parent.mkdir(parents=True, exist_ok=True)
        (root / video).touch()


def _ssv2() -> tuple[dict[str, str], list[str]]:
    rows = [
        {"id": str(i), "label": "a cup", "template": f"{CLASSES[i % 2]} [something]", "placeholders": ["a cup"]}
        for i in range(8)
    ]
    labels = {f"{name} something": str(number) for number, name in enumerate(CLASSES)}
    texts = {"labels.json": labels, "train.json": rows[:5], "validation.json": rows[5:]}
    return {name: json.dumps(content, indent=1) for name, content in texts.items()}, [f"v/{i}.webm" for i in range(8)]


def _k400() -> tuple[dict[str, str], list[str]]:
    rows = [f'"{CLASSES[i % 2]}",{i:011d},{i},{i + 10},train,0\n' for i in range(8)]
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    texts = {"train.csv": header + "".join(rows[:5]), "val.csv": header + "".join(rows[5:])}
    return texts, [f"{CLASSES[i % 2]}/{i:011d}_{i:06d}_{i + 10:06d}.mp4" for i in range(8)]


def _ucf101() -> tuple[dict[str, str], list[str]]:
    videos = [f"{FOLDERS[i % 2]}/v_{i}.avi" for i in range(8)]
    texts = {
        "classInd.txt": "1 Jump\n2 Run\n",
        "trainlist01.txt": "".join(f"{video} {1 + i % 2}\n" for i, video in enumerate(videos[:5])),
        "testlist01.txt": "".join(f"{video}\n" for video in videos[5:]),
    }
    return texts, videos


def _hmdb51() -> tuple[dict[str, str], list[str]]:
    videos = [f"{FOLDERS[i % 2]}/#{i}_(a)&b!.avi" for i in range(8)]
    texts = {
        f"{folder}_test_split1.txt": "".join(
            f"{os.path.basename(video)} {1 if i < 5 else 2} \n" for i, video in enumerate(videos) if folder in video
        )
        for folder in FOLDERS
    }
    return texts, videos


def _list() -> tuple[dict[str, str], list[str]]:
    videos = [f"a class/clip {i}.mp4" for i in range(8)]
    lines = [f"{video} {i % 2}\n" for i, video in enumerate(videos)]
    return {"train.csv": "".join(lines[:5]), "val.csv": "".join(lines[5:])}, videos


def check_layout(data: str, root: Path, file: Path) -> str:
    """List both parts of a dataset."""
    outcome = READ
    for split in ("train", "validation"):
        try:
            for subset in (None, 0.5, 1):
                videos = list_videos(data, root, split, subset=subset, index="none")
                check_videos(videos, whole=subset is None)
                expect(data == "list" or not _contradicts(videos), "a video has two classes")
        except (ValueError, OSError) as err:
            outcome = refused(err, (ValueError, MissingDataError), file.name, str(root))
            continue
        check_round_trip(videos)
    return outcome


def check_videos(videos: VideoList, *, whole: bool) -> None:
    """Raise Fault unless a list says of each video one class that there is, or none of any."""
    classes, labels = videos.classes, [video.label for video in videos.videos]
    expect(all(type(name) is str and name.strip() for name in classes), f"the classes are {classes[:9]}")
    expect(len(set(classes)) == len(classes), f"a class occurs twice among {classes[:9]}")
    expect(len(videos) > 0, "there is no video")
    expect(all(type(label) is int for label in labels) or set(labels) == {None}, f"the labels are {labels[:9]}")
    expect(all(0 <= label < len(classes) for label in labels if label is not None), f"the labels are {labels[:9]}")
    expect(all(type(video.name) is str and video.name for video in videos.videos), "a name is empty or none")
    counts = (videos.annotated, videos.missing, videos.broken)
    expect(all(type(count) is int and count >= 0 for count in counts), f"the counts are {counts}")
    expect(not whole or videos.annotated == len(videos) + videos.missing, "the counts do not add up")


def _contradicts(videos: VideoList) -> bool:
    of_name = {video.name: video.label for video in videos.videos}
    return any(of_name[video.name] != video.label for video in videos.videos)


def check_round_trip(videos: VideoList) -> None:
    """Raise Fault unless the videos come back from a list that is written of them."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_list(videos, Path(folder, "train.csv"))
        except ValueError as err:
            refused(err, (ValueError,), "line break")
            return
        again = list_videos("list", folder, index="none")
    expect([v.label for v in again.videos] == [v.label for v in videos.videos], "a list of them has other classes")


def make_index(root: Path) -> None:
    """Write an index of both parts, and the videos."""
    rows = []
    for i in range(6):
        status, frames = ("broken", None) if i == 4 else ("short", 20) if i == 3 else ("ok", 40)
        finding = Finding(status=status, frames=frames, fps=frames and 25.0, width=frames and 320, cause=None)
        name = f"{FOLDERS[i % 2]}/{i}.avi"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        rows.append(Row(name, name, i % 2, finding))
    for split in ("train", "validation"):
        header = Header(
            data="ucf101", split=split, fold=1, subset=None, subset_seed=0, classes=FOLDERS, annotated=8, missing=2,
            videos=len(rows), frames=16, stride=2,
        )  # fmt: skip
        write_index(root / index_name("ucf101", Part(split, 1)), header, rows)


def check_index(root: Path, file: Path) -> str:
    """List a dataset by its index alone."""
    split = "train" if "train" in file.name else "validation"
    try:
        for subset in (None, 0.5):
            videos = list_videos("ucf101", root, split, subset=subset)
            check_videos(videos, whole=False)  # an index tells no more of the annotations than its header does
    except (ValueError, OSError) as err:
        return refused(err, (ValueError, MissingDataError), file.name)
    return READ


def make_names(root: Path) -> None:
    """Write names of videos, one a line."""
    (root / "names.txt").write_text("".join(f"deep/er/{i} a.mp4\n" for i in range(12)), encoding="utf-8")


def check_names(root: Path, file: Path) -> str:
    """List a folder of empty videos whose names are the file's lines, as far as a disk takes such names."""
    folder = root / "videos"
    shutil.rmtree(folder, ignore_errors=True)
    for line in file.read_bytes().split(b"\n")[:200]:
        path = os.path.join(os.fsencode(folder), line.strip(b"/").replace(b"..", b"__"))[:4000]
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_CREAT))
        except (OSError, ValueError, RecursionError):
            continue
    try:
        for split in ("train", "validation"):
            for subset in (None, 0.5):
                videos = list_videos("folder", folder, split, subset=subset)
                check_videos(videos, whole=subset is None)
                check_round_trip(videos)
    except (ValueError, OSError) as err:
        return refused(err, (ValueError, MissingDataError), str(folder))
    return READ


def _mutations(name: str) -> tuple[Mutation, ...]:
    return JSON if name.endswith((".json", ".jsonl")) else (*TEXT, *TEXT, *BYTES)


TARGETS = [
    *(
        Target(data, partial(make_layout, data), partial(check_layout, data), patterns, _mutations, share=3)
        for data, patterns in ANNOTATIONS.items()
    ),
    Target("index", make_index, check_index, ["*.jsonl"], _mutations, share=3),
    Target("folder", make_names, check_names, ["names.txt"], _mutations),
]
