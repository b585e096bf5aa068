"""The long training: begin it, make faults, count, end it, and compare the counts with the promises."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tats_gym.clips import list_videos
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.files.atomic import write_whole
from tats_gym.provenance import origin
from tats_gym.runs.checkpoint import CheckpointError, load_checkpoint
from tats_gym.runs.folder import REPLACED
from tats_gym.runs.metrics import read_metrics
from tats_gym.train.signals import PREEMPTED
from tests.soak import command
from tests.soak.census import Census, count, growth, tree
from tests.soak.faults import Faults

ROOT = Path(__file__).resolve().parent.parent.parent
SETTLED_S = 600.0
"""After this long memory must be flat."""
GREW_AT_MOST = 0.05


@dataclass(frozen=True, kw_only=True)
class SoakConfig:
    """A long training under faults."""

    minutes: float = 120.0
    """How long it trains."""
    seed: int = 0
    """Of the training and of the faults."""
    fault_s: float = 15.0
    """Seconds from one fault to the next, in the mean."""
    heal_s: float = 30.0
    """Seconds for which a video stays broken."""
    num_videos: int = 80
    """Videos to train on."""
    out: Path | None = None
    """Where the record is written, as JSON."""


def soak(config: SoakConfig) -> int:
    """Run, print the record, and return 0 if all held."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        record, failures = _soak(config, Path(folder))
    record["failures"] = failures
    text = json.dumps(record, indent=1)
    print(text)
    if config.out is not None:
        write_whole(config.out, text + "\n")
    return 1 if failures else 0


def _soak(config: SoakConfig, folder: Path) -> tuple[dict[str, Any], list[str]]:
    run, scratch, rng = folder / "run", folder / "scratch", np.random.default_rng(config.seed)
    scratch.mkdir()
    videos = _videos(folder / "videos", config.num_videos)
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            _command(config, folder / "videos", run),
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(scratch)},
            stdout=log,
            stderr=log,
        )
        trainer = psutil.Process(process.pid)
        try:
            _wait_for(run / "metrics.jsonl", process)
            faults = Faults(trainer, videos, rng, config.heal_s)
            rows, seen = _make_faults(config, process, faults, rng)
            faults.heal(all_of_them=True)
            process.send_signal(signal.SIGUSR1)
            code = process.wait(timeout=300)
        finally:
            process.kill()
    words = (folder / "log.txt").read_text()
    failures = _failures(code, rows, seen, scratch, words)
    record = {
        "command": command("tests.soak"),
        **origin(),
        "settings": {name: value for name, value in asdict(config).items() if name != "out"},
        "faults": faults.made,
        "exit_code": code,
        **_trained(run, failures),
        "growth": _growths(rows),
        "log": words.splitlines()[-12:],
        "census": [
            {name: round(value, 1) for name, value in asdict(row).items()} for row in rows[:: len(rows) // 240 + 1]
        ],
    }
    return record, failures


def _videos(folder: Path, number: int) -> list[Path]:
    folder.mkdir()
    for video in list_videos("demo", str(make_demo_data()), "train").videos[:number]:
        shutil.copy(video.path, folder)
    held_out = {video.path for video in list_videos("folder", str(folder), "validation").videos}
    return sorted(path for path in folder.iterdir() if path not in held_out)


def _command(config: SoakConfig, videos: Path, run: Path) -> list[str]:
    settings = {
        "env": "TatsMask-folder-v0", "root": videos, "folder": run, "seed": config.seed, "num-workers": 2,
        "time-limit-s": 5, "cache-mib": 0, "mae-optim.epochs": 1_000_000, "mae-optim.base-lr": 0.004,
        "tats.warmup-epochs": 1, "epoch-masks": 800, "eval-interval": 3200, "eval-clips": 16,
        "checkpoint-interval": 800,
    }  # fmt: skip
    return [
        sys.executable,
        "scripts/train_ppo.py",
        "--quiet",
        *(f"--{name}={value}" for name, value in settings.items()),
    ]


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        if process.poll() is not None:
            raise RuntimeError(f"the training ended with {process.returncode} before it had begun")
        time.sleep(0.5)


def _make_faults(
    config: SoakConfig, process: subprocess.Popen[bytes], faults: Faults, rng: np.random.Generator
) -> tuple[list[Census], set[psutil.Process]]:
    """Count every five seconds, and make faults between; return the counts, and all processes that were seen."""
    trainer, start, rows = psutil.Process(process.pid), time.monotonic(), list[Census]()
    seen = {trainer}  # they know when they began, as numbers are given again
    due = rng.exponential(config.fault_s)
    while (now := time.monotonic() - start) < config.minutes * 60 and process.poll() is None:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            rows.append(count(trainer, now))
            seen.update(tree(trainer))
        if now >= due:
            faults.make()
            due = now + rng.exponential(config.fault_s)
        faults.heal()
        time.sleep(min(5.0, config.fault_s))
    return rows, seen


def _growths(rows: list[Census]) -> dict[str, float] | None:
    """The growth since the first ten minutes, as shares; None unless the training lasted twice as long as that."""
    if rows[-1].seconds < 2 * SETTLED_S:
        return None
    names = ("trainer_mib", "memory_mib", "files", "processes", "threads")
    return {name: round(growth(rows, name, settled_s=SETTLED_S, window_s=SETTLED_S), 4) for name in names}


def _failures(code: int, rows: list[Census], seen: set[psutil.Process], scratch: Path, words: str) -> list[str]:
    failures = [] if code == PREEMPTED else [f"the training ended with {code}, not {PREEMPTED}"]
    failures += [f"process {each.pid} outlived it" for each in seen if each.is_running()]
    left = (path.name for path in scratch.iterdir() if not path.name.startswith("torchinductor_"))  # PyTorch's cache
    failures += [f"{name} was left in the temporary folder" for name in left]
    failures += ["there is a traceback in the log"] if "Traceback" in words else []
    grown = _growths(rows) or {}
    failures += [f"{name} grew by {value:.1%}" for name, value in grown.items() if value > GREW_AT_MOST]
    return failures


def _trained(run: Path, failures: list[str]) -> dict[str, Any]:
    """Read the training's result from its own files; their faults are added to the failures."""
    try:
        rows, state = read_metrics(run), load_checkpoint(run)
    except CheckpointError as err:
        failures.append(str(err))
        return {}
    steps = [row["step"] for row in rows]
    losses = [row["mae/loss"] for row in rows if "mae/loss" in row]
    if steps != sorted(steps) or state["step"] < steps[-1]:
        failures.append("metrics and checkpoint do not agree")
    if None in losses:
        failures.append("a loss was not finite")
    journal = run / REPLACED
    replaced = journal.read_text().splitlines() if journal.exists() else []  # none, where the run met no broken video
    speeds = [row["time/masks_per_s"] for row in rows if "time/masks_per_s" in row]
    return {
        "clips": state["step"],
        "replaced": len(replaced),
        "loss": losses[:1] + losses[-1:],
        "masks_per_s": [round(float(np.median(part)), 1) for part in np.array_split(np.array(speeds), 6) if len(part)],
        "checkpoints": sorted(path.name for path in (run / "checkpoints").iterdir()),
    }
