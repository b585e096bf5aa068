"""Reports comparisons of agents: tables, a record and a picture, with means and intervals over seeds."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tats_gym.agents.experiments.comparison.compare import CONTROL, CompareCommand, run_comparison
from tats_gym.agents.experiments.trials.estimates import Row, as_plain, rounded, summarise
from tats_gym.agents.training.command_line import without_paths
from tats_gym.figures.canvas import pixels_of
from tats_gym.files.atomic import make_folder
from tats_gym.results import aligned, origin_of, write_results
from tats_gym.statistics import Estimate

Better = Literal["lower", "higher", "neither", "own MAE"]
ARROWS: dict[Better, str] = {"lower": " ↓", "higher": " ↑", "neither": "", "own MAE": " (do not compare)"}

Summary = Mapping[str, Mapping[str, Estimate]]


class Measure(NamedTuple):
    """The display of a measure."""

    title: str
    """Head of its column."""
    better: Better
    """own MAE: agents are not to be compared by it."""
    digits: int = 3
    """Decimal places."""
    scale: float = 1
    """Factor of the values shown: 100 for per cent."""
    deciding: bool = False
    """Whether the smallest difference that so many seeds can detect stands beside it."""


TABLES: Mapping[str, Mapping[str, Measure]] = {
    "Errors of reconstruction": {
        "error_own": Measure("error, own masks", "own MAE"),
        "error_random": Measure("error, random masks", "lower", 4),
        "error_random_drop": Measure("error below random's", "higher", 4, deciding=True),
        "reference_gain": Measure("gain under one MAE", "higher", 4, deciding=True),
        "reference_content_gain": Measure("of it by content", "higher", 4, deciding=True),
    },
    "Probes of the frozen encoder: top-1, per cent": {
        "logistic": Measure("linear probe", "higher", 1, 100),
        "logistic_rise": Measure("linear, above random's", "higher", 1, 100, deciding=True),
        "attentive": Measure("attentive probe", "higher", 1, 100),
        "attentive_rise": Measure("attentive, above random's", "higher", 1, 100, deciding=True),
        "knn": Measure("k-NN", "higher", 1, 100),
        "knn_rise": Measure("k-NN, above random's", "higher", 1, 100, deciding=True),
    },
    "The sampler's distribution": {
        "entropy_share": Measure("entropy, share of uniform", "neither"),
        "logit_deviation": Measure("std of the logits", "neither", 2),
        "never_chosen": Measure("tokens never chosen, share", "neither", 2),
    },
    "The cost": {
        "masks_per_s": Measure("training forwards/s", "higher", 1),
        "cost_s": Measure("seconds a run", "lower", 0),
        "peak_memory_mib": Measure("peak memory, MiB", "lower", 0),
        "extra_forwards": Measure("extra forwards", "lower", 0),
    },
}
"""Title of each table to its measures, in the order shown."""

MEASURES = {name: measure for table in TABLES.values() for name, measure in table.items()}
UNREPORTED = ("shown", "curve")
"""Entries of a run's row that are no measures; only the runs' folders keep them."""


def report_comparison(command: CompareCommand, arguments: Sequence[str]) -> Iterator[str]:
    """Run the missing trials of a comparison and write the results; yield the tables, and where the results lie.

    Args:
        command: The agents, and how they are compared.
        arguments: The words of the command line, for the record.

    Raises:
        ValueError: If `run_comparison` refuses the agents, the settings or the folder.
        StoppedError: If a run was stopped; the next call resumes it.
    """
    make_folder(command.results)  # before hours of work
    comparison = command.comparison
    label, grid = command.label or comparison.base.clips.data, comparison.base.grid
    result = run_comparison(comparison, command.out / label, command.seeds, jobs=command.jobs)
    summary = compare(result.rows)
    about = (
        f"{label}: {result.rows[0]['steps']:,} training forwards of the MAE, {grid.num_visible} of {grid.num_tokens} "
        f"tokens visible, {len(command.seeds)} seeds"
    )
    yield "\n".join([about, "", comparison_tables(summary), *result.notes])
    record = {
        "about": about,
        "command": shlex.join(["tats-gym", "compare", *without_paths(arguments)]),
        **origin_of(result.rows),
        "seeds": list(command.seeds),
        "jobs_side_by_side": command.jobs,
        "notes": result.notes,
        "agents": as_plain(summary),
        "rows": plain_rows(result.rows),
        "settings": without_paths(asdict(comparison)),
    }
    yield "\n" + write_results(command.results / f"compare_{label}", record, comparison_figure(summary, about))


def compare(rows: Sequence[Row]) -> dict[str, dict[str, Estimate]]:
    """Estimate every measure of every agent over its seeds, and its differences to `random` seed by seed."""
    control = CONTROL if any(row["agent"] == CONTROL for row in rows) else None
    return summarise(rows, control, by="agent", names=tuple(MEASURES))


def plain_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as rounded plain values, for JSON."""
    return [rounded({name: value for name, value in row.items() if name not in UNREPORTED}) for row in rows]


def comparison_tables(summary: Summary) -> str:
    """Return the tables of all agents as text: means, and 95 % intervals over seeds if there are several."""
    legend = (
        "mean [95 % interval over seeds, Student's t]; ↓ lower is better, ↑ higher; differences are paired by seed\n"
        "detectable: the smallest true difference that so many seeds would show four times in five"
    )
    return "\n\n".join([*_tables(summary), legend])


def _tables(summary: Summary) -> Iterator[str]:
    for title, measures in TABLES.items():
        names = [name for name in measures if any(name in estimates for estimates in summary.values())]
        if not names:
            continue
        head = ["agent", "seeds"]
        for name in names:
            head.append(measures[name].title + ARROWS[measures[name].better])
            head += ["detectable"] if measures[name].deciding else []
        lines = [head]
        for agent, estimates in summary.items():
            if not any(name in estimates for name in names):
                continue
            line = [agent, str(max(len(estimates[name].values) for name in names if name in estimates))]
            for name in names:
                line.append(as_text(estimates[name], measures[name]) if name in estimates else "")
                if measures[name].deciding:
                    line.append(as_number(estimates[name].detectable, measures[name]) if name in estimates else "")
            lines.append(line)
        yield "\n".join([title, *aligned(lines)])


def as_text(estimate: Estimate, measure: Measure) -> str:
    """Return an estimate's mean and, if the seeds differ, its interval as text."""
    sign = "+" if measure.deciding else ""
    mean, low, high = (as_number(value, measure, sign) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]" if estimate.low < estimate.high else mean  # with one seed they are NaN


def as_number(value: float, measure: Measure, sign: str = "") -> str:
    """Return a value as text in the measure's unit, "" for NaN."""
    return "" if math.isnan(value) else f"{measure.scale * value:{sign},.{measure.digits}f}"


# --- The picture -----------------------------------------------------------------------------------------------------

DIRECTIONS: dict[Better, str] = {
    "lower": "← lower is better",
    "higher": "higher is better →",
    "neither": "",
    "own MAE": "each by its own MAE: do not compare",
}


def comparison_figure(summary: Summary, title: str) -> NDArray[np.uint8]:
    """Draw a row of panels for each table: each agent's mean and interval, its seeds as small marks, random's dashed.

    Args:
        summary: As `compare` returns it.
        title: A line above the picture.

    Returns:
        The picture (height, width, 3).
    """
    measured = {name for estimates in summary.values() for name in estimates}
    rows = [kept for table in TABLES.values() if (kept := [name for name in table if name in measured])]
    across = max(map(len, rows))
    size = (3.6 * across + 1, (0.34 * len(summary) + 1.25) * len(rows) + 0.8)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    axes = figure.subplots(len(rows), across, squeeze=False, sharey=True)
    for row, names in zip(axes, rows, strict=True):
        for axis, name in zip_longest(row, names):
            axis.remove() if name is None else _draw(axis, name, summary)
    figure.suptitle(
        f"{title}\ndot: mean, bar: its 95 % interval over seeds, ticks: the seeds, dashed: {CONTROL}", fontsize=11
    )
    return pixels_of(figure)


def _draw(axis: Any, name: str, summary: Summary) -> None:
    measure = MEASURES[name]
    control = summary.get(CONTROL, {}).get(name)
    if control is not None:
        axis.axvline(measure.scale * control.mean, color="0.45", ls="--", lw=1)
    elif measure.deciding:
        axis.axvline(0, color="0.45", ls="--", lw=1)
    for row, (agent, estimates) in enumerate(summary.items()):
        if name not in estimates:
            continue
        colour = "0.3" if agent == CONTROL else f"C{row}"
        values = [measure.scale * value for value in estimates[name].values]
        axis.plot(values, [row + 0.24] * len(values), "|", color=colour, ms=7, mew=1, alpha=0.7)
        if math.isfinite(estimates[name].low):
            interval = [measure.scale * end for end in (estimates[name].low, estimates[name].high)]
            axis.plot(interval, [row, row], color=colour, lw=2, solid_capstyle="butt")
        axis.plot(measure.scale * estimates[name].mean, row, "o", color=colour, ms=6)
    axis.set_title(measure.title + (", per cent" if measure.scale == 100 else ""), fontsize=10)
    axis.set_xlabel(DIRECTIONS[measure.better], fontsize=9, color="0.25")
    axis.set_yticks(range(len(summary)), list(summary), fontsize=10)
    axis.set_ylim(len(summary) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="y", color="0.93")
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
