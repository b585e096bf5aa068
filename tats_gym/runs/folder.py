"""A run's folder: begins and continues a run, and records its settings, versions and machine in config.json."""

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tats_gym.files.atomic import explain_os_errors, make_folder, write_whole
from tats_gym.files.text import parse_json
from tats_gym.messages import did_you_mean, listed
from tats_gym.provenance import commit, machine, versions
from tats_gym.runs.checkpoint import has_checkpoint, load_checkpoint
from tats_gym.runs.kinds import RUNS, Kind, kind_hint, kind_of, kind_of_settings
from tats_gym.runs.metrics import METRICS

logger = logging.getLogger(__name__)

CONFIG = "config.json"
REPLACED = "replaced_clips.jsonl"
"""In a run's folder: the journal of clips that replaced unreadable ones."""


def create_run(parent: Path, name: str, config: dict[str, Any], *, processes: int = 1) -> Path:
    """Make a new folder `parent/name-N` and begin a run in it.

    Raises:
        OSError: If the folder cannot be written.
    """
    make_folder(parent)
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            with explain_os_errors(parent, parent):
                folder.mkdir()
            break
        except FileExistsError:
            number += 1
    begin_run(folder, config, processes=processes)
    return folder


def begin_run(folder: Path, config: dict[str, Any], *, processes: int = 1) -> None:
    """Write config.json into a run's folder, made if missing: settings, commit, versions, machine and command.

    Metrics and replaced clips of an earlier run that ended before its first checkpoint are deleted.

    Args:
        folder: The run's folder.
        config: The run's settings.
        processes: Number of ranks; settings such as the batch size hold for each rank.

    Raises:
        ValueError: If the folder is not empty and holds no run of this kind.
        OSError: If the folder cannot be written.
    """
    make_folder(folder)
    check_run_folder(folder, config)
    for name in (METRICS, REPLACED):
        (folder / name).unlink(missing_ok=True)
    record = {
        "config": config,
        "seed": config.get("seed"),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "command": sys.argv,
        "processes": processes,
        "started": _now(),
    }
    write_whole(folder / CONFIG, json.dumps(record, indent=2) + "\n")


def check_run_folder(folder: Path, config: dict[str, Any]) -> None:
    """Check that a folder is missing, empty, or holds a run of the kind of these settings.

    Raises:
        ValueError: If it holds other files, which a new run would overwrite.
    """
    if not folder.is_dir() or all(each.name[0] == "." for each in folder.iterdir()):
        return
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{folder} is neither empty nor a run's folder: there is no config.json{kind_hint(folder)}; "
            "name another folder"
        )
    kind, wanted = kind_of(folder), kind_of_settings(config)
    if kind is not wanted:
        raise ValueError(f"{folder} is {kind.name}, and {wanted.name} would write over it; name another folder")


def record_resumption(folder: Path, config: dict[str, Any], step: int, *, processes: int = 1) -> None:
    """Update a run's config.json with the settings, versions and machine of its resumption at `step`; see `begin_run`.

    Changes are logged, and kept with the step under "resumed".
    """
    before = read_record(folder)
    now = {"config": config, "commit": commit(), "versions": versions(), "machine": machine(), "processes": processes}
    now = json.loads(json.dumps(now))
    changed = _changes(before, now)
    if changed:
        text = _changes_text(changed)
        logger.warning("%s goes on from step %d with other settings or software: %s", folder, step, text)
    resumed = {"step": step, "when": _now(), "command": sys.argv, "changed": changed}
    record = before | now | {"resumed": [*before.get("resumed", []), resumed]}
    write_whole(folder / CONFIG, json.dumps(record, indent=2) + "\n")


def describe_changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """List the settings of two runs that differ, with both values."""
    return _changes_text(_changes(*json.loads(json.dumps([before, now]))))


def _changes_text(changes: dict[str, list[Any]]) -> str:
    return ", ".join(f"{name} {was!r} -> {value!r}" for name, (was, value) in changes.items())


def _changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """Return the values that differ, before and now, by dotted names; only of names that both have."""
    changes: dict[str, list[Any]] = {}
    for name in sorted(before.keys() & now.keys()):
        was, value = before[name], now[name]
        if isinstance(was, dict) and isinstance(value, dict):
            changes |= _changes(was, value, f"{prefix}{name}.")
        elif was != value:
            changes[f"{prefix}{name}".removeprefix("config.")] = [was, value]
    return changes


def read_record(folder: Path) -> dict[str, Any]:
    """Read a run's config.json; where it is missing, return the settings in the newest checkpoint.

    Raises:
        FileNotFoundError: If the folder holds no run; the message suggests similar names beside it.
        ValueError: If config.json is damaged.
    """
    path = folder / CONFIG
    saved = folder / "checkpoints"
    if not path.is_file() and has_checkpoint(saved) and "config" in (state := load_checkpoint(saved)):
        logger.warning("there is no %s; the settings are those of the newest checkpoint", path)
        return {"config": state["config"]}
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no {path}{_near(folder)}")
    record = parse_json(path.read_bytes(), str(path))
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise ValueError(f"{path} must hold an object with the run's settings under 'config'{kind_hint(folder)}")
    return record


def _near(folder: Path) -> str:
    """Suggest the run that contains a path, the runs in it, its kind, or similar names beside it."""
    for parent in list(folder.absolute().parents)[:2]:
        if (parent / CONFIG).is_file() and (parent / "checkpoints").is_dir():
            return f"; its run is {parent}"
    within = sorted(folder.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime, reverse=True)
    if within:
        return f"; there are runs within it: {listed([path.parent.name for path in within])}"
    if folder.exists():
        return kind_hint(folder)
    siblings = [path.name for path in folder.parent.iterdir() if path != folder] if folder.parent.is_dir() else []
    return did_you_mean(folder.name, siblings, most=2)


def read_config(folder: Path, wanted: Kind) -> dict[str, Any]:
    """Return a run's settings; raises as `read_record` does.

    Raises:
        ValueError: If the run is of another kind than `wanted`.
    """
    config: dict[str, Any] = read_record(folder)["config"]
    kind = kind_of_settings(config)
    if kind in RUNS and wanted in RUNS and kind is not wanted:
        raise ValueError(f"{folder} is {kind.name}, not {wanted.name}: {kind.use}")
    return config


def names_apart(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths, in whole parts, by which all differ."""
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
