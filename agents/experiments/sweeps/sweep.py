"""Carries out the sweeps of the paper's tables: their trials, and the tables in the paper's layout."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.comparison.compare import with_demo_set
from tats_gym.agents.experiments.comparison.measures import ProbePlan, has_labels, probe_trials
from tats_gym.agents.experiments.sweeps.paper_tables import SWEEPS, Sweep
from tats_gym.agents.experiments.trials.estimates import rounded
from tats_gym.agents.experiments.trials.trial import Trial, read_row, run_trials
from tats_gym.agents.experiments.trials.variations import check_builds, with_agent, with_changes, with_forwards
from tats_gym.agents.training.command_line import without_paths
from tats_gym.files.atomic import make_folder
from tats_gym.jobs.parallel import default_jobs
from tats_gym.messages import nearest_multiples
from tats_gym.results import aligned, origin_of, results_folder, write_results
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.statistics import Estimate, estimate


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """The table that is swept, its budget and seeds, and where the results go."""

    table: Annotated[Literal["table2", "table3", "table6"], tyro.conf.Positional]
    """Table of the supplement."""
    budget: int | None = None
    """Training forwards of the MAE in a run, clips times masks; None takes the preset's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Every trial is run with each."""
    jobs: int = field(default_factory=default_jobs)
    """Parallel trials, each in a process of its own with its share of the cores."""
    label: str | None = None
    """Name of the data, for the names of the results; None takes the dataset's."""
    out: Path = Path("runs/sweeps")
    """Folder of the runs; several machines can share it."""
    results: Path = field(default_factory=results_folder)
    """Folder of table and numbers."""
    base: PretrainConfig
    """Settings that all runs share, but for the swept ones."""
    probing: ProbePlan
    """Settings of the probes."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, jobs="[1, inf)", budget="[1, inf)")  # before the demo's clips are drawn

    @property
    def sweep(self) -> Sweep:
        """The rows and columns of the table."""
        return SWEEPS[self.table]


@dataclass(frozen=True)
class Swept:
    """One run of a sweep, with its measures."""

    row: str
    """Name in `Sweep.rows`."""
    column: str
    """Head in `Sweep.agents`."""
    values: Mapping[str, Any]
    """Its row of measures, see `read_row`."""


def sweep_trials(
    sweep: Sweep, base: PretrainConfig, folder: Path, seeds: Sequence[int], *, budget: int | None
) -> dict[tuple[str, str, int], Trial]:
    """Return the trials of a sweep by row, column and seed.

    Args:
        sweep: The sweep.
        base: Settings that all runs share.
        folder: Holds a folder for each trial.
        seeds: Every trial is run with each.
        budget: Training forwards of the MAE in a run; None takes those of `base`.

    Raises:
        ValueError: If a setting of the sweep does not fit, or if the budget is not whole epochs and rollouts.
    """
    if sweep.epochs is not None:
        optim = base.mae_optim
        warmup = round(optim.warmup_epochs * sweep.epochs / optim.epochs)
        base = replace(base, mae_optim=replace(optim, epochs=sweep.epochs, warmup_epochs=warmup))
    budget = _fitting(base, [with_changes(base, changes) for changes in sweep.rows.values()], budget)
    trials: dict[tuple[str, str, int], Trial] = {}
    made: dict[PretrainConfig, str] = {}
    for row, changes in sweep.rows.items():
        common = with_forwards(with_changes(base, changes), budget)
        alike = made.setdefault(replace(common, grid=replace(common.grid, mask_ratio=0.5)), row)
        if alike != row:
            grid = common.grid
            raise ValueError(
                f"rows {alike} and {row} would both show {grid.num_visible} of {grid.num_tokens} tokens, a multiple of "
                f"the {grid.shape[0]} tubelets; take larger clips (--size)"
            )
        for column, agent in sweep.agents.items():
            config = with_agent(common, agent)
            config = replace(config, eval_interval=(config.epoch_masks or 1) * config.mae_optim.epochs)
            for seed in seeds:
                name = f"{agent} {row}".replace("/", "-")
                trials[row, column, seed] = Trial(replace(config, seed=seed), folder / name / f"seed{seed}")
    return trials


def _fitting(base: PretrainConfig, rows: Sequence[PretrainConfig], budget: int | None) -> int:
    """Return a number of forwards that is whole epochs and whole rollouts in every row.

    Args:
        base: Settings that the rows share; without a budget a run has their length, or a little more.
        rows: The settings of each.
        budget: The number asked for.

    Raises:
        ValueError: If the budget does not fit.
    """
    epochs = base.mae_optim.epochs
    unit = base.num_envs * math.lcm(epochs, *(row.tats.n_steps for row in rows))
    if budget is None:
        return -(-(with_forwards(base).epoch_masks or 0) * epochs // unit) * unit
    if budget < unit or budget % unit:
        raise ValueError(
            f"--budget must be a multiple of {unit}, {epochs} epochs of {base.num_envs} masks a step and whole "
            f"rollouts in every row, got {budget}; take {' or '.join(map(str, nearest_multiples(budget, unit)))}"
        )
    return budget


def run_sweep(
    sweep: Sweep, trials: Mapping[tuple[str, str, int], Trial], probe: ProbePlan, *, jobs: int
) -> list[Swept]:
    """Run and probe the trials that are not done yet, `jobs` at a time, and return all.

    Several machines can do so in the same folder, see `share_out`.

    Args:
        sweep: The sweep.
        trials: As `sweep_trials` returns them.
        probe: The probes of a sweep that has some.
        jobs: Parallel processes; each takes its share of the cores.

    Raises:
        ValueError: If a run cannot be built, or if encoders are to be probed on clips without classes; before the
            first run.
        WorkFailedError: If some runs failed; the others are done.
        StoppedError: If one was stopped; the next call resumes it.
    """
    first = next(iter(trials.values())).config
    if sweep.probed and not has_labels(first, probe):
        raise ValueError(
            f"this table probes encoders, and the clips of {first.env} have no classes; TatsMask-list-v0 reads lists "
            "that name them"
        )
    check_builds({f"row {row}, {column}": trial.config for (row, column, _), trial in trials.items()})
    every = list(trials.values())
    run_trials(every, jobs=jobs, own_process=True)
    rows = {trial.folder: read_row(trial.folder) for trial in every}
    if sweep.probed:
        for trial, probes in zip(every, probe_trials(every, probe, jobs=jobs), strict=True):
            rows[trial.folder] |= {name: 100 * value for name, value in probes.items()}
    return [Swept(row, column, rows[trial.folder]) for (row, column, _), trial in trials.items()]


def estimates(sweep: Sweep, swept: Sequence[Swept]) -> dict[tuple[str, str], dict[str, Estimate]]:
    """Estimate every measure over the seeds of each row and column."""
    cells: dict[tuple[str, str], dict[str, Estimate]] = {}
    for row in sweep.rows:
        for column in sweep.agents:
            values_of_cell = [each.values for each in swept if (each.row, each.column) == (row, column)]
            measured = [name for name in sweep.measures if all(name in values for values in values_of_cell)]
            cells[row, column] = {name: estimate([values[name] for values in values_of_cell]) for name in measured}
    return cells


def sweep_table(sweep: Sweep, cells: Mapping[tuple[str, str], Mapping[str, Estimate]], data: str) -> str:
    """Return a sweep as text in the paper's layout, beside the paper's figures; the best mean has a star.

    Means have their 95 % intervals by Student's t over n seeds.

    Args:
        sweep: The sweep.
        cells: As `estimates` returns it; a measure that no cell has gets no column.
        data: The dataset; for one that the paper did not measure, its figures on all of its datasets are shown.
    """
    datasets = [data] if data in sweep.published else list(sweep.published)
    measures = [name for name in sweep.measures if any(name in cell for cell in cells.values())]
    deciding = measures[0]
    means = [each[deciding].mean for each in cells.values() if math.isfinite(each[deciding].mean)]
    best = (min if sweep.lower_is_better else max)(means, default=None)
    several = len(sweep.agents) > 1
    head = [sweep.corner]
    for column in sweep.agents:
        prefix = f"{column}: " if several else ""
        head += [f"{prefix}{sweep.measures[name]}" for name in measures]
        head += [f"{prefix}paper, {name}" for name in datasets]
    lines = [head]
    for row in sweep.rows:
        line = [row]
        for column in sweep.agents:
            cell = cells[row, column]
            line += [
                _as_text(cell[name], sweep.digits) + " *" * (name == deciding and cell[name].mean == best)
                if name in cell
                else ""
                for name in measures
            ]
            line += [sweep.published[name][row][column] for name in datasets]
        lines.append(line)
    return "\n".join(aligned(lines))


def _as_text(value: Estimate, digits: int) -> str:
    count = len(value.values)
    interval = f" [{value.low:.{digits}f}, {value.high:.{digits}f}] n {count}" if count > 1 else ""
    return f"{value.mean:.{digits}f}{interval}"


def report_sweep(command: SweepCommand, arguments: Sequence[str]) -> Iterator[str]:
    """Run the missing trials of a sweep and write the results; yield its table, and where the numbers lie.

    Args:
        command: The table, and how it is swept.
        arguments: The words of the command line, for the record.

    Raises:
        ValueError: If `sweep_trials` or `run_sweep` refuses the settings.
        WorkFailedError: If some runs failed; the others are done.
        StoppedError: If one was stopped; the next call resumes it.
    """
    make_folder(command.results)  # before hours of work
    sweep, data = command.sweep, command.base.clips.data
    label = command.label or data
    trials = sweep_trials(
        sweep, command.base, command.out / f"{command.table}-{label}", command.seeds, budget=command.budget
    )
    probing = with_demo_set(command.probing, command.base.clips) if sweep.probed else command.probing
    swept = run_sweep(sweep, trials, probing, jobs=command.jobs)
    cells, rows = estimates(sweep, swept), [each.values for each in swept]
    about = f"{command.table}, {label}: {sweep.about}; {_in_common(command, rows)}"
    table = sweep_table(sweep, cells, data)
    yield f"{about}\n\n{table}"
    record = {
        "about": about,
        "command": shlex.join(["tats-gym", "sweep", *without_paths(arguments)]),
        **origin_of(rows),
        "seeds": list(command.seeds),
        "rows": sweep.rows,
        "settings": without_paths({"base": command.base.as_dict(), "probing": asdict(probing)}),
        "runs_s": round(sum(row["cost_s"] for row in rows)),
        "jobs_side_by_side": command.jobs,
        "table": table.splitlines(),
        "cells": [
            {"row": row, "column": column, **rounded({name: vars(each) for name, each in measures.items()})}
            for (row, column), measures in cells.items()
        ],
    }
    yield "\n" + write_results(command.results / f"sweep_{command.table}_{label}", record)


def _in_common(command: SweepCommand, rows: Sequence[Mapping[str, Any]]) -> str:
    steps = sorted({row["steps"] for row in rows})
    text = f"{len(command.seeds)} seeds, {' or '.join(f'{number:,}' for number in steps)} training forwards a run"
    tats = command.base.tats
    if "tats.credit" in command.sweep.settings:
        return text
    return f"{text}, credit {tats.credit}, c1 c2 c3 {tats.policy_coef:g} {tats.vf_coef:g} {tats.ent_coef:g}"
