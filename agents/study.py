"""Runs a study: every arm with every seed, side by side, each resumable, and one row of numbers for each."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from agents.config import PretrainConfig
from agents.held_out import HeldOut, held_out_for, mean_lift
from agents.pretraining import Pretraining, resume, run_config
from tats_gym.clips.demo_objects import object_coverage
from tats_gym.runs import commit

logger = logging.getLogger(__name__)

ROW = "row.json"
FINAL_MASKS = 8
"""Masks a held-out clip in the last measurement."""

In = TypeVar("In")
Out = TypeVar("Out")

Changes = Mapping[str, Any]
"""Dotted names of settings to their values: {"tats.credit": "joint"}."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms that differ in a few settings, and start from the same MAE for the same seed."""

    about: str
    """What is asked, in a sentence."""
    start: PretrainConfig
    """Trains the MAE that all arms of a seed start from."""
    base: PretrainConfig
    """What the arms have in common."""
    arms: Mapping[str, Changes]
    """Name of an arm to how it differs."""


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    config: PretrainConfig
    folder: Path
    """Of this cell alone; its runs lie in it."""


def changed(config: PretrainConfig, changes: Changes) -> PretrainConfig:
    """Return the settings with some replaced.

    Raises:
        TypeError: If there is no setting of a name.
    """
    for name, value in changes.items():
        part, _, field = name.rpartition(".")
        config = replace(
            config, **({part: replace(getattr(config, part), **{field: value})} if part else {name: value})
        )
    return config


def run_study(study: Study, folder: Path, starts: Path, seeds: Sequence[int], *, jobs: int) -> list[dict[str, Any]]:
    """Run what has not been run yet, `jobs` cells side by side, and return the rows of all arms.

    Args:
        study: What to run.
        folder: Holds a folder for each cell; cells whose row lies there are not run again.
        starts: Holds the runs whose MAE the arms start from; studies with the same start can share them.
        seeds: Every arm is run with each.
        jobs: Processes; each takes its share of the cores.
    """
    firsts = [Cell(replace(study.start, seed=seed), starts / f"seed{seed}") for seed in seeds]
    run_cells(firsts, jobs=jobs)
    cells = []
    for start in firsts:
        base = replace(study.base, seed=start.config.seed, init_mae=str(latest_run(start.folder)))
        for arm, changes in study.arms.items():
            cells.append(Cell(changed(base, changes), folder / arm / f"seed{base.seed}"))
    run_cells(cells, jobs=jobs)
    return [{"arm": cell.folder.parent.name, **read_row(cell.folder)} for cell in cells]


def run_cells(cells: Sequence[Cell], *, jobs: int) -> None:
    """Run the cells that have no row yet, `jobs` at a time.

    Raises:
        ValueError: If a folder holds a run that was made with other settings than its cell has now.
    """
    for cell in cells:
        _check_settings(cell)
    waiting = [cell for cell in cells if not (cell.folder / ROW).is_file()]
    for done, (cell, row) in enumerate(side_by_side(run_cell, waiting, jobs=jobs), start=1):
        name = f"{cell.folder.parent.name}/{cell.folder.name}"
        logger.info("%d of %d: %s, gain %+.4f, %.0f s", done, len(waiting), name, row["gain"], row["cost_s"])


def _check_settings(cell: Cell) -> None:
    try:
        before = run_config(latest_run(cell.folder))
    except FileNotFoundError:
        return
    if _anywhere(before) != _anywhere(cell.config):
        raise ValueError(
            f"{cell.folder} holds a run with other settings than the study has now; choose another --out, or delete it"
        )


def _anywhere(config: PretrainConfig) -> PretrainConfig:
    """Return the settings without those that change when a study is moved."""
    return replace(config, out="", quiet=True, init_mae=None)


def side_by_side(function: Callable[[In], Out], items: Sequence[In], *, jobs: int) -> Iterator[tuple[In, Out]]:
    """Yield each item with what the function makes of it, as they come, from `jobs` processes that share the cores.

    One job is done in this process.
    """
    if jobs == 1:
        yield from ((item, function(item)) for item in items)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_start_process, initargs=(threads,)) as pool:
        futures = {pool.submit(function, item): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_process(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_stop_with_parent, daemon=True).start()


def _stop_with_parent() -> None:
    """Ask this process to save and end when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


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
        row = _row(run) | {"cost_s": round(spent + time.perf_counter() - started, 1)}
    finally:
        run.close()
    partial = cell.folder / f".{ROW}"
    partial.write_text(json.dumps(row))
    partial.replace(cell.folder / ROW)
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
        return resume(latest_run(cell.folder))
    except FileNotFoundError:
        shutil.rmtree(cell.folder, ignore_errors=True)  # a run that ended before its first checkpoint
        return Pretraining(replace(cell.config, out=str(cell.folder), quiet=True))


def _row(run: Pretraining) -> dict[str, Any]:
    """Measure a finished run with more masks than its curve was measured with."""
    config = run.config
    held_out = held_out_for(config, run.mae, num_masks=FINAL_MASKS)
    scores, state = held_out.measure(run.agent.policy)
    chosen = held_out.choices(run.agent.policy)
    num_tokens = config.grid.num_tokens
    shown = torch.bincount(chosen.flatten(), minlength=num_tokens) / chosen.shape[:2].numel()
    return {
        "seed": config.seed,
        "commit": commit(),
        "steps": run.agent.num_timesteps,
        "mae_steps": run.optimizer.steps,
        **asdict(scores),
        **({} if state is None else asdict(state)),
        **object_lifts(held_out, chosen),
        "shown": [round(share, 4) for share in shown.tolist()],
        "curve": list(_curve(run.folder / "metrics.jsonl")),
    }


def object_lifts(held_out: HeldOut, chosen: torch.Tensor) -> dict[str, float]:
    """Say how much more of the demo's objects the tokens chosen (S, N, K) hold than all tokens: 1 is chance."""
    if held_out.stream.config.data != "demo":
        return {}
    objects, acting = object_coverage(held_out.stream, held_out.ids, held_out.mae.grid)
    return {"object_lift": mean_lift(objects, chosen), "acting_lift": mean_lift(acting, chosen)}


CURVE = ("error_own", "error_random", "gain", "logit_deviation", "never_chosen", "motion_lift")


def _curve(path: Path) -> Iterator[dict[str, float]]:
    """Yield the measurements of a run's metrics.jsonl, in the order in which they were made."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = {name.rpartition("/")[2]: value for name, value in json.loads(line).items()}
        if "gain" in row:
            yield {"step": row["step"], **{name: row[name] for name in CURVE if name in row}}
