"""Where a dataset lies on this machine, and the error that says how to get it."""

import os
from pathlib import Path

DISTRIBUTORS = {
    "ssv2": (
        "labels.json, train.json and validation.json with the {id}.webm videos",
        "Something-Something V2, first by 20BN and now by Qualcomm",
    ),
    "k400": (
        "train.csv and val.csv with the {youtube_id}_{start}_{end}.mp4 videos",
        "Kinetics-400, kept by CVDF as kinetics-dataset",
    ),
    "ucf101": (
        "classInd.txt, trainlist01.txt and testlist01.txt (or 02, 03) with the {class}/{name}.avi videos",
        "UCF101, by the Center for Research in Computer Vision (CRCV) at UCF",
    ),
    "hmdb51": (
        "the {class}_test_split1.txt files (or 2, 3) with the {class}/{name}.avi videos",
        "HMDB51, by the Serre lab at Brown University",
    ),
    "list": (
        "train.csv, val.csv or test.csv, whose lines are `path label`, in that very folder",
        "you, or from scripts/prepare_data.py list, which writes any dataset in this form",
    ),
    "folder": ("video files", "you: any folder of videos will do"),
    "demo": ("generated videos in the layout of SSv2", "make_demo_data, which draws them"),
}
"""What each dataset consists of, and who gives it out."""


class MissingDataError(FileNotFoundError):
    """A dataset, or a part of it, is not where it was looked for."""


def data_root(data: str, root: str | Path | None = None) -> Path:
    """Folder of a dataset: `root`, else `$TATS_GYM_DATA/<data>`, else `<data>` in the user's cache."""
    if root is not None:
        return Path(root).expanduser()
    home = os.environ.get("TATS_GYM_DATA")
    if home:
        return Path(home).expanduser() / data
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "tats_gym" / data


def missing_data(data: str, root: Path, problem: str) -> MissingDataError:
    """The error for a dataset that is absent or incomplete, with the ways out of it."""
    files, distributor = DISTRIBUTORS[data]
    return MissingDataError(
        f"{data}: {problem}. Looked below {root.absolute()} for {files}. "
        f"They come from {distributor}. If they lie elsewhere, name that folder with root= (--root on a "
        f"command line), or set TATS_GYM_DATA to the folder that holds {data}/. "
        f"TatsMask-demo-v0 needs no data."
    )
