"""Recognises the kind of a file or a folder, so that errors can name the command that takes it."""

import json
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from tats_gym.files.video_files import VIDEO_SUFFIXES
from tats_gym.messages import listed
from tats_gym.runs.checkpoint import PATTERN, CheckpointError

MAX_ENTRIES = 1000
"""Most entries of a folder that are searched for runs and videos."""
MAX_DEPTH = 3
"""Levels of folders that are searched for runs: study, arm, seed."""


class Kind(NamedTuple):
    """A kind of file or folder."""

    name: str
    """Its name, with an article."""
    use: str = ""
    """The commands that take it."""


_ENCODERS = "--encoder of tats-gym finetune and probe, and tats-gym export"
PRETRAINING = Kind(
    "a pre-training run",
    "tats-gym train takes it with --resume and --init-mae, tats-gym visualize and report as it is, "
    f"{_ENCODERS} for its encoder",
)
FINETUNING = Kind(
    "a fine-tuning run",
    "tats-gym finetune takes it with --resume, tats-gym predict with --classifier, tats-gym export as it is, "
    "--encoder of tats-gym finetune and probe for its encoder, as does tats-gym train with --init-mae",
)
ENCODER = Kind(
    "an exported or published encoder",
    f"{_ENCODERS} take it, tats-gym train with --init-mae, tats-gym predict with --classifier if fine-tuned",
)
MAE = Kind("an exported MAE", f"tats-gym train takes it with --init-mae, {_ENCODERS} for its encoder")
SAMPLER = Kind("an exported sampler", "see docs/export.md for the function that loads it")
SERVING_GRAPH = Kind(
    "a graph for serving",
    "ONNX runtimes or torch.export.load take it; export the run as safetensors for the commands of this package",
)
VIDEO = Kind("a video", "tats-gym visualize --videos and tats-gym cut take it, --root the folder that it lies in")
VIDEO_FOLDER = Kind("a folder of videos", "--root takes it, and tats-gym cut")
EMPTY_FILE = Kind("an empty file", "its writing or copying was cut short")
EMPTY_FOLDER = Kind("an empty folder", "--out and --folder take it")
OTHER_FILE = Kind("a file of another kind")
OTHER_FOLDER = Kind("a folder without a run, weights or videos", "--root takes it where a dataset lies deeper in it")
TORCH = Kind("a torch file of another kind, or a damaged one", "see docs/export.md for those that are read")
MISSING = Kind("not there")

RUNS = (PRETRAINING, FINETUNING)


def check_kind(path: Path, *wanted: Kind) -> None:
    """Check that a file or folder is of one of the kinds wanted.

    Args:
        path: A file or a folder; a missing or damaged one passes, as its reader names the damage.
        wanted: The kinds to accept.

    Raises:
        CheckpointError: If it is of another kind; the message names the kind and the commands that take it.
    """
    kind = kind_of(path)
    if kind not in (*wanted, TORCH, MISSING):
        raise CheckpointError(
            f"{path} is {kind.name}, not {' or '.join(each.name for each in wanted)}{_taken_by(kind)}"
        )


def refuse_to_replace(path: Path, option: str, begins: bytes = b"") -> None:
    """Check that writing a file would not replace a video, weights, a run, or a file of another format.

    Args:
        path: The file to write.
        option: The command-line option that named it.
        begins: First bytes of files that may be replaced.

    Raises:
        ValueError: If it would replace one.
    """
    kind = kind_of(path)
    if kind in (VIDEO, PRETRAINING, FINETUNING, ENCODER, MAE, SAMPLER, SERVING_GRAPH, TORCH):
        raise ValueError(f"{option} would write over {path}, {kind.name}; name another file")
    if kind is OTHER_FILE:
        with path.open("rb") as file:
            if file.read(len(begins)) != begins:
                raise ValueError(f"{option} would write over {path}, a file of another kind; name another file")


def kind_hint(path: Path) -> str:
    """Return "; it is a video: ..." for a path of a known kind, "" for others."""
    kind = kind_of(path)
    return "" if kind in (TORCH, MISSING, OTHER_FILE, OTHER_FOLDER) else f"; it is {kind.name}{_taken_by(kind)}"


def _taken_by(kind: Kind) -> str:
    return f": {kind.use}" if kind.use else ""


def kind_of(path: Path) -> Kind:
    """Return the kind of a file or folder, by names and headers; no weights are read, and no code in them is run."""
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        return MISSING
    suffix = path.suffix.lower()
    if not path.stat().st_size:
        return EMPTY_FILE
    if suffix in VIDEO_SUFFIXES:
        return VIDEO
    if suffix in (".onnx", ".pt2"):
        return SERVING_GRAPH
    if suffix == ".safetensors":
        return _kind_of_safetensors(path)
    return _kind_of_torch(path) if _may_be_torch(path) else OTHER_FILE


def kind_of_settings(settings: Mapping[str, Any]) -> Kind:
    """Return the kind of run that has these settings."""
    if "agent" in settings:
        return PRETRAINING
    return FINETUNING if "encoder" in settings else OTHER_FOLDER


def _kind_of_folder(folder: Path) -> Kind:
    entries = [path for path, _ in zip(folder.iterdir(), range(MAX_ENTRIES), strict=False) if path.name[0] != "."]
    if not entries:
        return EMPTY_FOLDER
    described = _read_json(folder / "config.json")
    if isinstance(described.get("config"), dict):
        return kind_of_settings(described["config"])
    if "model_type" in described:
        return ENCODER
    checkpoints = sorted([*folder.glob(PATTERN), *folder.glob(f"checkpoints/{PATTERN}")])
    files = checkpoints[-1:] or sorted(path for path in entries if path.is_file())
    kinds = {kind_of(path) for path in files}
    for kind in (*RUNS, SAMPLER, MAE, ENCODER, SERVING_GRAPH, TORCH):
        if kind in kinds:
            return kind
    if runs := list(_runs_below(folder, MAX_DEPTH)):
        names = listed([str(run.relative_to(folder)) for run in runs])
        return Kind("a folder of runs", f"name one of them: {names}")
    return VIDEO_FOLDER if VIDEO in kinds or any(_videos_below(folder)) else OTHER_FOLDER


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.glob("*/config.json"))[:MAX_ENTRIES]:
        if isinstance(_read_json(path).get("config"), dict):
            yield path.parent
    if depth > 1:
        for each in sorted(path for path in folder.glob("[!.]*") if path.is_dir())[:MAX_ENTRIES]:
            if not (each / "config.json").is_file():
                yield from _runs_below(each, depth - 1)


def _videos_below(folder: Path) -> Iterator[Path]:
    for path, _ in zip(folder.rglob("[!.]*"), range(MAX_ENTRIES), strict=False):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


def _read_json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        contents = json.loads(path.read_bytes())
        if isinstance(contents, dict):
            return contents
    return {}


def _kind_of_safetensors(path: Path) -> Kind:
    with suppress(SafetensorError, OSError, ValueError, RecursionError), safe_open(path, framework="pt") as file:
        description = json.loads((file.metadata() or {}).get("tats_gym", "{}"))
        if isinstance(description, dict) and "sampler" in description:
            return SAMPLER
        return MAE if any(name.startswith("decoder.") for name in file.keys()) else ENCODER  # noqa: SIM118 -- no dict
    return TORCH


def _may_be_torch(path: Path) -> bool:
    with path.open("rb") as file:
        begin = file.read(2)
    return begin in (b"PK", b"\x80\x02") or path.suffix in (".pt", ".pth")  # an archive, or a pickle as before 2020


def _kind_of_torch(path: Path) -> Kind:
    """Recognise a torch file by the names in it, which its pickle holds as text."""
    names: set[str] = set()
    with suppress(Exception), zipfile.ZipFile(path) as archive:  # a damaged file fails in any way
        member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        names = {value for _, value, _ in pickletools.genops(archive.read(member)) if isinstance(value, str)}
    if "mae_config" in names:
        return FINETUNING if "classifier" in names else PRETRAINING
    if "own_mae" in names:
        return PRETRAINING
    known = ("patch_embed.proj.weight", "patch_embeddings.projection.weight")
    return ENCODER if any(name.endswith(known) for name in names) else TORCH
