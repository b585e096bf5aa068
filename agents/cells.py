"""Cells: runs that belong together, each resumable in a folder of its own, with one row of numbers at its end."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

from agents import find_agent
from agents.config import PretrainConfig
from agents.held_out import HeldOut, held_out_for, mean_lift, shown_share
from agents.needs import settled
from agents.pretraining import Pretraining, resume, run_config
from envs.rewards import NEEDS_RANDOM_MASK
from tats_gym.clips.demo_objects import object_coverage
from tats_gym.files import write_whole
from tats_gym.metrics import read_metrics, speed
from tats_gym.processes import side_by_side
from tats_gym.runs import commit

logger = logging.getLogger(__name__)

ROW = "row.json"
MASKS = "masks.npy"
"""The agent's masks (S, N, K) of the held-out clips at the end of a run, chosen as it sees them through its own MAE."""
FINAL_MASKS = 8
"""Masks a held-out clip in the last measurement."""
POLL_S = 10.0
"""Seconds until it is looked again whether another machine has ended the cells that it has in hand."""


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    config: PretrainConfig
    folder: Path
    """Of this cell alone; its runs lie in it."""


def run_cells(cells: Sequence[Cell], *, jobs: int, apart: bool = False) -> None:
    """Run the cells that have no row yet, `jobs` at a time; `apart`, each in a process of its own.

    The same may be asked for on several machines that share the folder: each takes cells that no other has in hand, and
    all return when every cell is done. Whoever dies lets go of its cells, and another goes on with them.

    Raises:
        ValueError: If a folder holds a run that was made with other settings than its cell has now.
    """
    for cell in cells:
        _check_settings(cell)
    waiting = [cell for cell in cells if not _done(cell)]
    total = len(waiting)
    while waiting:
        for cell, row in side_by_side(_run_unless_taken, waiting, jobs=jobs, apart=apart):
            if row is not None:
                done = total - sum(not _done(each) for each in waiting)
                name = f"{cell.folder.parent.name}/{cell.folder.name}"
                logger.info("%d of %d: %s, gain %+.4f, %.0f s", done, total, name, row["gain"], row["cost_s"])
        if waiting := [cell for cell in waiting if not _done(cell)]:
            logger.info("%d cells are in the hands of others; waiting for them", len(waiting))
            while waiting and not any(_free(cell) for cell in waiting):
                time.sleep(POLL_S)
                waiting = [cell for cell in waiting if not _done(cell)]


def _done(cell: Cell) -> bool:
    return (cell.folder / ROW).is_file()


def lock(folder: Path) -> filelock.BaseFileLock:
    """Return the lock of whoever works in a cell's folder; the system opens it when that process ends, however."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder.with_name(f".{folder.name}.lock"))


def _free(cell: Cell) -> bool:
    try:
        with lock(cell.folder).acquire(blocking=False):
            return True
    except filelock.Timeout:
        return False


def _run_unless_taken(cell: Cell) -> dict[str, Any] | None:
    """Run a cell and return its row; None where it is done already, or in the hands of another process."""
    try:
        with lock(cell.folder).acquire(blocking=False):
            return None if _done(cell) else run_cell(cell)
    except filelock.Timeout:
        return None


def _check_settings(cell: Cell) -> None:
    try:
        before = run_config(latest_run(cell.folder))
    except FileNotFoundError:
        return
    if _anywhere(before) != _anywhere(settled(cell.config, find_agent(cell.config.agent))):
        raise ValueError(
            f"{cell.folder} holds a run with other settings than the study has now; choose another --out, or delete it"
        )


def _anywhere(config: PretrainConfig) -> PretrainConfig:
    """Return the settings without those that change when a study is moved."""
    return replace(config, out="", quiet=True, init_mae=None)


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one cell, going on with what a run before left, and write its row.

    Raises:
        InterruptedError: If the run was stopped; the next call goes on with it.
    """
    before = cell.folder / "cost.json"
    spent = json.loads(before.read_text()) if before.is_file() else 0.0
    started = time.perf_counter()
    run = _open(cell)
    try:
        result = run.run()
        if not result.finished:
            cell.folder.mkdir(parents=True, exist_ok=True)
            before.write_text(json.dumps(spent + time.perf_counter() - started))
            raise InterruptedError(f"{cell.folder} was stopped; run the study again to go on")
        row, masks = _row(run)
        row["cost_s"] = round(spent + time.perf_counter() - started, 1)
    finally:
        run.close()
    np.save(cell.folder / MASKS, masks)
    write_whole(cell.folder / ROW, json.dumps(row))
    return row


def read_row(folder: Path) -> dict[str, Any]:
    """Read what `run_cell` wrote."""
    row: dict[str, Any] = json.loads((folder / ROW).read_text())
    return row


def latest_run(folder: Path) -> Path:
    """Return the newest run below a cell's folder.

    Raises:
        FileNotFoundError: If there is none with a checkpoint.
    """
    found = sorted(folder.glob("*/checkpoints/step-*.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"{folder} holds no run with a checkpoint")
    return found[-1].parent.parent


def _open(cell: Cell) -> Pretraining:
    try:
        found = latest_run(cell.folder)
    except FileNotFoundError:
        shutil.rmtree(cell.folder, ignore_errors=True)  # a run that ended before its first checkpoint
        return Pretraining(replace(cell.config, out=str(cell.folder), quiet=True))
    return resume(found)


def _row(run: Pretraining) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Measure a finished run with more masks than its curve was measured with: its row, and its masks (S, N, K)."""
    config = run.config
    held_out = held_out_for(config, run.mae, num_masks=FINAL_MASKS)
    scores, state = held_out.measure(run.agent.policy)
    chosen = held_out.choices(run.agent.policy)
    shown = shown_share(chosen, config.grid.num_tokens)
    logged = read_metrics(run.folder)
    row = {
        "seed": config.seed,
        "commit": commit(),
        "steps": run.agent.num_timesteps,
        "mae_steps": run.optimizer.steps,
        **asdict(scores),
        **({} if state is None else asdict(state)),
        **object_lifts(held_out, chosen),
        "shown": [round(share, 4) for share in shown.tolist()],
        **speed(logged),
        # One a clip, uniform masks at the start included.
        "extra_forwards": run.agent.num_timesteps if config.reward in NEEDS_RANDOM_MASK else 0,
        "curve": list(_curve(logged)),
    }
    return row, chosen.numpy()


def object_lifts(held_out: HeldOut, chosen: torch.Tensor) -> dict[str, float]:
    """Say how much more of the demo's objects the tokens chosen (S, N, K) hold than all tokens: 1 is chance."""
    if held_out.stream.config.data != "demo":
        return {}
    objects, acting = object_coverage(held_out.stream, held_out.ids, held_out.mae.grid)
    return {"object_lift": mean_lift(objects, chosen), "acting_lift": mean_lift(acting, chosen)}


CURVE = ("error_own", "error_random", "gain", "logit_deviation", "never_chosen", "motion_lift")


def _curve(logged: Sequence[Mapping[str, float]]) -> Iterator[dict[str, float]]:
    """Yield the measurements on held-out clips, names without what they begin with."""
    for line in logged:
        row = {name.rpartition("/")[2]: value for name, value in line.items()}
        if "gain" in row:
            yield {"step": row["step"], **{name: row[name] for name in CURVE if name in row}}
