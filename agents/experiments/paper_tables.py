"""The sweeps of the paper's tables 2, 3 and 6 (supplement): their cells, and the tables in the paper's layout."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.comparison import build_once, sized
from tats_gym.agents.experiments.comparison_measures import ProbePlan, has_labels, probe_cells
from tats_gym.agents.experiments.study import Changes, changed, with_agent
from tats_gym.agents.experiments.trials import Cell, read_row, run_cells
from tats_gym.runs.results import aligned
from tats_gym.statistics import Estimate, estimate

Published = Mapping[str, Mapping[str, str]]
"""Row of a table to the paper's figures by column."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A table: what differs between its rows, and between its columns."""

    about: str
    """What was swept, and what the paper says came out."""
    corner: str
    """Head of the first column."""
    rows: Mapping[str, Changes]
    """Name of a row to what is set there."""
    agents: Mapping[str, str]
    """Head of a column to the agent whose runs stand there."""
    measures: Mapping[str, str]
    """Measure of a run's row to how it is called in the table; the first decides."""
    published: Mapping[str, Published]
    """Dataset to the paper's figures on it."""
    epochs: int | None = None
    """That a run is divided into, where epochs are what is swept; None takes the preset's."""
    probed: bool = False
    """Whether the encoders are probed."""
    lower_is_better: bool = True
    digits: int = 4
    """Behind the point, of all measures."""

    @property
    def settings(self) -> frozenset[str]:
        """Dotted names of the settings that are the sweep's to make."""
        epochs = {"mae_optim.epochs"} if self.epochs is not None else set()
        return frozenset(epochs.union(*self.rows.values()))


def _by_row(names: Sequence[str], column: str, values: str) -> Published:
    return {name: {column: value} for name, value in zip(names, values.split(), strict=True)}


_M_O_AND_K = ((0, 1), (1, 1), (5, 1), (10, 1), (25, 1), (100, 1), (50, 5), (50, 10), (50, 25))
_COEFFICIENTS = (
    ("1e-4", "1e-3", "1e-3"), ("1e-4", "1e-3", "1e-4"), ("1e-4", "1e-4", "1e-3"), ("1e-3", "1e-4", "1e-4"),
    ("1e-4", "1e-4", "1e-4"), ("1e-5", "1e-4", "1e-4"), ("1e-3", "1e-3", "1e-4"), ("1e-5", "1e-5", "1e-5"),
)  # fmt: skip
_TABLE_2 = [f"({m_o}, {k})" for m_o, k in _M_O_AND_K]
_TABLE_3 = [f"({', '.join(each)})" for each in _COEFFICIENTS]
_RATIOS = ("0.85", "0.90", "0.95")
_TABLE_6 = {  # top-1 / top-5 of VideoMAE, AdaMAE and TATS, a line for each ratio
    "ucf101": """46.91/75.71 43.72/71.42 48.54/76.80
                 47.38/76.35 45.92/73.15 49.28/77.73
                 41.81/70.85 46.19/74.31 49.05/77.22""",
    "hmdb51": """20.57/50.52 21.42/52.28 22.53/53.91
                 19.99/50.72 22.66/54.17 22.79/54.10
                 17.64/48.37 21.81/51.56 23.50/52.28""",
    "k400": """12.86/31.33 10.51/26.49 11.61/28.64
               14.27/33.64 11.35/27.46 12.68/30.28
               14.75/34.50 13.36/30.90 13.66/31.72""",
    "ssv2": """8.96/23.43 9.91/25.47 10.29/26.04
               10.27/25.85 11.06/27.19 11.86/28.70
               11.18/27.68 12.75/30.66 13.39/31.88""",
}
_METHODS = {"VideoMAE (tube)": "tube", "AdaMAE": "adamae", "TATS": "tats"}

SWEEPS: Mapping[str, Sweep] = {
    "table2": Sweep(
        about="m_o, epochs in which the MAE is trained alone, and k, steps for one update of the sampler",
        corner="(m_o, k)",
        rows={
            name: {"tats.warmup_epochs": m_o, "tats.n_steps": k}
            for name, (m_o, k) in zip(_TABLE_2, _M_O_AND_K, strict=True)
        },
        agents={"TATS": "tats"},
        measures={"error_own": "error, own masks", "error_random": "error, random masks", "gain": "gain"},
        published={
            "ucf101": _by_row(_TABLE_2, "TATS", ".5211 .5205 .5304 .5135 .5269 .6662 .7735 .8149 .9201"),
            "hmdb51": _by_row(_TABLE_2, "TATS", ".8051 .8195 .8535 .8278 .8987 .9291 .9772 .9776 -"),
        },
        epochs=125,
    ),
    "table3": Sweep(
        about="c1, c2, c3: coefficients of the policy, of the value and of the entropy in the paper's per-token loss",
        corner="(c1, c2, c3)",
        rows={
            name: {
                "tats.credit": "token",
                "tats.policy_coef": float(c1),
                "tats.vf_coef": float(c2),
                "tats.ent_coef": float(c3),
                "tats.warmup_epochs": 10,
                "tats.n_steps": 1,
            }
            for name, (c1, c2, c3) in zip(_TABLE_3, _COEFFICIENTS, strict=True)
        },
        agents={"TATS": "tats"},
        measures={"error_own": "error, own masks", "error_random": "error, random masks", "gain": "gain"},
        # The paper prints the seventh row twice, with .5215 and .7869: one of both must belong to other coefficients.
        published={"ucf101": _by_row(_TABLE_3, "TATS", ".5188 .5167 .5246 .8482 .5135 .5239 .5215/.7869 .5173")},
        epochs=125,
    ),
    "table6": Sweep(
        about="the mask ratio, and who masks: linear probing of the frozen encoder, per cent",
        corner="mask ratio",
        rows={ratio: {"grid.mask_ratio": float(ratio), "grid.visible": None} for ratio in _RATIOS},
        agents=_METHODS,
        measures={"logistic": "top-1", "logistic_top5": "top-5"},
        published={
            data: {
                ratio: dict(zip(_METHODS, line.split(), strict=True))
                for ratio, line in zip(_RATIOS, figures.splitlines(), strict=True)
            }
            for data, figures in _TABLE_6.items()
        },
        probed=True,
        lower_is_better=False,
        digits=2,
    ),
}


@dataclass(frozen=True)
class Swept:
    """One run of a sweep, and what came of it."""

    row: str
    column: str
    values: Mapping[str, Any]


def planned(
    sweep: Sweep, base: PretrainConfig, folder: Path, seeds: Sequence[int], *, budget: int | None
) -> dict[tuple[str, str, int], Cell]:
    """Return the cells of a sweep by row, column and seed.

    Args:
        sweep: Which.
        base: What all runs have in common.
        folder: Holds a folder for each cell.
        seeds: Every cell is run with each.
        budget: Training forwards of the MAE in a run; None takes what `base` comes to.

    Raises:
        ValueError: If a setting of the sweep does not fit, or the budget cannot be divided so.
    """
    if sweep.epochs is not None:
        optim = base.mae_optim
        warmup = round(optim.warmup_epochs * sweep.epochs / optim.epochs)
        base = replace(base, mae_optim=replace(optim, epochs=sweep.epochs, warmup_epochs=warmup))
    budget = _fitting(base, [changed(base, changes) for changes in sweep.rows.values()], budget)
    cells: dict[tuple[str, str, int], Cell] = {}
    made: dict[PretrainConfig, str] = {}
    for row, changes in sweep.rows.items():
        common = sized(changed(base, changes), budget)
        alike = made.setdefault(replace(common, grid=replace(common.grid, mask_ratio=0.5)), row)
        if alike != row:
            grid = common.grid
            raise ValueError(
                f"rows {alike} and {row} would both show {grid.num_visible} of {grid.num_tokens} tokens, a multiple of "
                f"the {grid.shape[0]} tubelets; take larger clips (--size)"
            )
        for column, agent in sweep.agents.items():
            config = with_agent(common, agent)
            config = replace(config, eval_interval=(config.epoch_clips or 1) * config.mae_optim.epochs)
            for seed in seeds:
                name = f"{agent} {row}".replace("/", "-")
                cells[row, column, seed] = Cell(replace(config, seed=seed), folder / name / f"seed{seed}")
    return cells


def _fitting(base: PretrainConfig, rows: Sequence[PretrainConfig], budget: int | None) -> int:
    """Return a number of forwards that is whole epochs and whole rollouts in every row.

    Args:
        base: What the rows have in common; without a budget a run is as long as it says, or a little longer.
        rows: The settings of each.
        budget: What is asked for.

    Raises:
        ValueError: If that does not fit.
    """
    epochs = base.mae_optim.epochs
    unit = base.num_envs * math.lcm(epochs, *(row.tats.n_steps for row in rows))
    if budget is None:
        return -(-(sized(base).epoch_clips or 0) * epochs // unit) * unit
    if budget < unit or budget % unit:
        near = [number for number in (budget // unit * unit, (budget // unit + 1) * unit) if number > 0]
        raise ValueError(
            f"--budget must be a multiple of {unit}, {epochs} epochs of {base.num_envs} masks a step and whole "
            f"rollouts in every row, got {budget}; take {' or '.join(map(str, near))}"
        )
    return budget


def run_sweep(sweep: Sweep, cells: Mapping[tuple[str, str, int], Cell], probe: ProbePlan, *, jobs: int) -> list[Swept]:
    """Run and probe what has not been yet, `jobs` cells side by side, and return all.

    Many machines may do so in the same folder, see `share_out`.

    Args:
        sweep: Which.
        cells: As `planned` returns them.
        probe: How encoders are probed, where they are.
        jobs: Processes; each takes its share of the cores.

    Raises:
        ValueError: If a run cannot be put together, or if encoders are to be probed on clips without classes; before
            anything is run.
        WorkFailedError: If some runs failed; the others are done.
        StoppedError: If one was stopped; the next call goes on with it.
    """
    first = next(iter(cells.values())).config
    if sweep.probed and not has_labels(first, probe):
        raise ValueError(
            f"this table probes encoders, and the clips of {first.env} have no classes; TatsMask-list-v0 reads lists "
            "that name them"
        )
    for (row, column), cell in {(row, column): cell for (row, column, _), cell in cells.items()}.items():
        try:
            build_once(cell.config)
        except ValueError as err:
            raise ValueError(f"row {row}, {column}: {err}") from err
    every = list(cells.values())
    run_cells(every, jobs=jobs, apart=True)
    rows = {cell.folder: read_row(cell.folder) for cell in every}
    if sweep.probed:
        for cell, found in zip(every, probe_cells(every, probe, jobs=jobs), strict=True):
            rows[cell.folder] |= {name: 100 * value for name, value in found.items()}
    return [Swept(row, column, rows[cell.folder]) for (row, column, _), cell in cells.items()]


def estimates(sweep: Sweep, swept: Sequence[Swept]) -> dict[tuple[str, str], dict[str, Estimate]]:
    """Estimate every measure over the seeds of each row and column."""
    found: dict[tuple[str, str], dict[str, Estimate]] = {}
    for row in sweep.rows:
        for column in sweep.agents:
            own = [each.values for each in swept if (each.row, each.column) == (row, column)]
            there = [name for name in sweep.measures if all(name in values for values in own)]
            found[row, column] = {name: estimate([values[name] for values in own]) for name in there}
    return found


def as_table(sweep: Sweep, found: Mapping[tuple[str, str], Mapping[str, Estimate]], data: str) -> str:
    """Print a sweep in the paper's layout, beside the paper's own figures; the best mean of all has a star.

    Means have their 95 % intervals by Student's t over n seeds.

    Args:
        sweep: Which.
        found: As `estimates` returns it.
        data: The dataset; of one that the paper did not measure, the figures of all that it did stand there.
    """
    shown = [data] if data in sweep.published else list(sweep.published)
    deciding = next(iter(sweep.measures))
    means = [each[deciding].mean for each in found.values() if math.isfinite(each[deciding].mean)]
    best = (min if sweep.lower_is_better else max)(means, default=None)
    several = len(sweep.agents) > 1
    head = [sweep.corner]
    for column in sweep.agents:
        prefix = f"{column}: " if several else ""
        head += [f"{prefix}{title}" for title in sweep.measures.values()]
        head += [f"{prefix}paper, {name}" for name in shown]
    lines = [head]
    for row in sweep.rows:
        line = [row]
        for column in sweep.agents:
            cell = found[row, column]
            line += [
                _shown(cell[name], sweep.digits) + " *" * (name == deciding and cell[name].mean == best)
                if name in cell
                else ""
                for name in sweep.measures
            ]
            line += [sweep.published[name][row][column] for name in shown]
        lines.append(line)
    return "\n".join(aligned(lines))


def _shown(value: Estimate, digits: int) -> str:
    count = len(value.values)
    interval = f" [{value.low:.{digits}f}, {value.high:.{digits}f}] n {count}" if count > 1 else ""
    return f"{value.mean:.{digits}f}{interval}"
