"""Runs a study: every arm with every seed, side by side, each resumable, and one row of numbers for each."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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
UNPAID = ("random", "constant", "tube", "frame", "block", "motion", "adamae", "group")
"""Agents that learn nothing, or from the errors of tokens, or by comparing masks of the same clip with each other."""
FINAL_MASKS = 8
"""Masks a held-out clip in the last measurement."""

Changes = Mapping[str, Any]
"""Dotted names of settings to their values: {"tats.credit": "joint"}."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms that differ in a few settings, and start from the same MAE for the same seed."""

    about: str
    """What is asked, in a sentence."""
    start: PretrainConfig | None
    """Trains the MAE that all arms of a seed start from; None lets each start untrained."""
    base: PretrainConfig
    """What the arms have in common."""
    arms: Mapping[str, Changes]
    """Name of an arm to how it differs."""
    control: str | None = None
    """The arm with which the others are compared seed by seed."""
    measures: tuple[str, ...] = ()
    """What is measured besides, see `study_start.MEASURES`."""
    race_to: float | None = None
    """A gain; the report says how many forwards of the MAE each arm took to it."""


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


def with_agent(config: PretrainConfig, agent: str) -> PretrainConfig:
    """Return the settings with another agent; its reward needs no second forward where that would teach it nothing."""
    unpaid = agent in UNPAID and config.reward in NEEDS_RANDOM_MASK
    return replace(config, agent=agent, reward="neg_error" if unpaid else config.reward)


def run_study(study: Study, folder: Path, starts: Path, seeds: Sequence[int], *, jobs: int) -> list[dict[str, Any]]:
    """Run what has not been run yet, `jobs` cells side by side, and return the rows of all arms.

    Args:
        study: What to run.
        folder: Holds a folder for each cell; cells whose row lies there are not run again.
        starts: Holds the runs whose MAE the arms start from; studies with the same start can share them.
        seeds: Every arm is run with each.
        jobs: Processes; each takes its share of the cores.
    """
    cells = []
    for base in run_starts(study, starts, seeds, jobs=jobs):
        for arm, changes in study.arms.items():
            cells.append(Cell(changed(base, changes), folder / arm / f"seed{base.seed}"))
    run_cells(cells, jobs=jobs)
    return [{"arm": cell.folder.parent.name, **read_row(cell.folder)} for cell in cells]


def run_starts(study: Study, starts: Path, seeds: Sequence[int], *, jobs: int) -> list[PretrainConfig]:
    """Train what is missing of the MAEs that the arms start from, and return what the arms of each seed share."""
    bases = [replace(study.base, seed=seed) for seed in seeds]
    if study.start is None:
        return bases
    firsts = [Cell(replace(study.start, seed=seed), starts / f"seed{seed}") for seed in seeds]
    run_cells(firsts, jobs=jobs)
    return [replace(base, init_mae=str(latest_run(first.folder))) for base, first in zip(bases, firsts, strict=True)]


def run_cells(cells: Sequence[Cell], *, jobs: int, apart: bool = False) -> None:
    """Run the cells that have no row yet, `jobs` at a time; `apart`, each in a process of its own.

    Raises:
        ValueError: If a folder holds a run that was made with other settings than its cell has now.
    """
    for cell in cells:
        _check_settings(cell)
    waiting = [cell for cell in cells if not (cell.folder / ROW).is_file()]
    for done, (cell, row) in enumerate(side_by_side(run_cell, waiting, jobs=jobs, apart=apart), start=1):
        name = f"{cell.folder.parent.name}/{cell.folder.name}"
        logger.info("%d of %d: %s, gain %+.4f, %.0f s", done, len(waiting), name, row["gain"], row["cost_s"])


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
