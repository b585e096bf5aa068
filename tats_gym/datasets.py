"""The table of datasets: one record each, from which ids, readers and recipes are made. Imports no reader."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Split = Literal["train", "validation", "test"]
NAME = re.compile(r"[a-z][a-z0-9_]*")
"""The name of a dataset, a word of its id."""
SPLITS: tuple[Split, ...] = get_args(Split)
TRAIN_VALIDATION: tuple[Split, ...] = ("train", "validation")
"""The splits of a dataset without a test split."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """How one dataset is read, its parts, and the settings that suit it."""

    reader: str
    """`module:function`, from a `Tree` of files and a `Part` to a `Listing`; imported when videos are listed."""
    video_reader: str | None = None
    """`module:class`, from a listed path to a `VideoReader`, for frames that do not lie in video files; imported in
    the processes that read clips. None opens video files, images and folders of frames."""
    files: str
    """The files that a user must have."""
    distributor: str
    """The owner or site that distributes them."""
    generator: str | None = None
    """`module:function` that makes the files where they are missing; None where they are distributed."""
    splits: tuple[Split, ...] = SPLITS
    """Parts that it is divided into."""
    folds: int = 1
    """Official divisions into train and validation."""
    counts: Mapping[Split, tuple[int, ...]] = field(default_factory=dict)
    """Videos that the official annotations name in each fold; empty where copies differ."""
    labelled: bool = True
    """Whether its videos have classes."""
    flip_keeps_class: bool | None = True
    """Whether a video and its mirror image are of one class; None where that depends on the user's classes."""
    stride: int = 2
    """Frames from one frame of a clip to the next; VideoMAE takes 2 on SSv2 and 4 on K400."""
    finetune_sampling: Literal["stride", "segments"] = "stride"
    """Where fine-tuning takes frames from, see `ClipConfig.sampling`; VideoMAE's."""
    finetune_views: int = 2
    """Windows of each video in the test after fine-tuning; VideoMAE's."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its environment that depart from the defaults (16 frames, 224 px, ViT-B, .95)."""

    def count(self, split: Split, fold: int) -> int | None:
        """Return the number of videos that the official annotations name; None where it is not known."""
        return self.counts[split][fold - 1] if split in self.counts else None


_SMALL = {"mae": "tiny", "size": 64, "patch_size": 8, "mask_ratio": 0.9}

DATASETS: dict[str, Dataset] = {
    "ssv2": Dataset(
        reader="tats_gym.clips.datasets.official:read_ssv2",
        files="labels.json, train.json and validation.json with the {id}.webm videos",
        distributor="Something-Something V2, first by 20BN and now by Qualcomm",
        counts={"train": (168_913,), "validation": (24_777,), "test": (27_157,)},
        flip_keeps_class=False,
        finetune_sampling="segments",
    ),
    "k400": Dataset(
        reader="tats_gym.clips.datasets.official:read_k400",
        files="train.csv and val.csv with the {youtube_id}_{start}_{end}.mp4 videos",
        distributor="Kinetics-400, kept by CVDF as kinetics-dataset",
        stride=4,
        finetune_views=5,
    ),
    "ucf101": Dataset(
        reader="tats_gym.clips.datasets.official:read_ucf101",
        files="classInd.txt, trainlist01.txt and testlist01.txt (or 02, 03) with the {class}/{name}.avi videos",
        distributor="UCF101, by the Center for Research in Computer Vision (CRCV) at UCF",
        splits=TRAIN_VALIDATION,
        folds=3,
        counts={"train": (9_537, 9_586, 9_624), "validation": (3_783, 3_734, 3_696)},
    ),
    "hmdb51": Dataset(
        reader="tats_gym.clips.datasets.official:read_hmdb51",
        files="the {class}_test_split1.txt files (or 2, 3) with the {class}/{name}.avi videos",
        distributor="HMDB51, by the Serre lab at Brown University",
        splits=TRAIN_VALIDATION,
        folds=3,
        counts={"train": (3_570,) * 3, "validation": (1_530,) * 3},
    ),
    "list": Dataset(
        reader="tats_gym.clips.datasets.folder_and_list:read_list",
        files="train.csv, val.csv or test.csv, with lines `path label` or `path,start,end,label`, in that very folder",
        distributor="you, or from tats-gym prepare list, which writes any dataset in this form",
        flip_keeps_class=None,
    ),
    "folder": Dataset(
        reader="tats_gym.clips.datasets.folder_and_list:read_folder",
        files="video files",
        distributor="you: any folder of videos will do",
        splits=TRAIN_VALIDATION,
        labelled=False,
        settings=_SMALL,
    ),
    "demo": Dataset(
        reader="tats_gym.clips.datasets.official:read_ssv2",
        files="generated videos in the layout of SSv2",
        distributor="make_demo_data, which draws them",
        generator="tats_gym.clips.demo.files:make_demo_data",
        splits=TRAIN_VALIDATION,
        flip_keeps_class=False,
        settings=_SMALL,
    ),
    "atari": Dataset(
        reader="tats_gym.clips.datasets.official:read_ssv2",
        files="recorded videos of games in the layout of SSv2",
        distributor="make_atari_data, which records them",
        generator="tats_gym.clips.games.atari:make_atari_data",
        splits=TRAIN_VALIDATION,
        stride=1,
        settings=_SMALL,
    ),
    "images": Dataset(
        reader="tats_gym.clips.datasets.images:read_images",
        files="image files, each of which is a clip of one frame",
        distributor="you: any folder of images will do",
        splits=TRAIN_VALIDATION,
        labelled=False,
        settings={**_SMALL, "frames": 1, "tubelet_size": 1, "mask_ratio": 0.75},
    ),
    "frames": Dataset(
        reader="tats_gym.clips.datasets.images:read_frames",
        files="folders of image files, each of which holds the frames of a video",
        distributor="you, or from ffmpeg, which extracts the frames of a video",
        splits=TRAIN_VALIDATION,
        labelled=False,
        settings=_SMALL,
    ),
}
"""Name of a dataset, as in the id TatsMask-NAME-v0, to its record; `tats_gym.register_dataset` adds others."""


def add_dataset(name: str, dataset: Dataset) -> None:
    """Add a dataset to the table; the same record may be added again.

    Raises:
        ValueError: If the name is no word of an id, or is taken by another dataset.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"the name of a dataset must be lower-case letters, digits and underscores, got {name!r}")
    if DATASETS.setdefault(name, dataset) != dataset:
        raise ValueError(f"there is another dataset {name!r} already; choose another name")
