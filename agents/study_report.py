"""What the rows of a study say together: estimates over seeds, a table, a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agents.statistics import Estimate, estimate

Row = Mapping[str, Any]

DECIDING = ("gain", "error_random_drop", "cosine", "slope")
"""Measures that the table shows with their interval over seeds."""
TABLE = (
    "error_own",
    "error_random",
    "content_gain",
    "overlap",
    "motion_lift",
    "object_lift",
    "acting_lift",
    "logit_deviation",
    "never_chosen",
    "signal_to_noise",
)
"""Measures that the table shows by their mean."""


def summarise(rows: Sequence[Row], control: str | None = None) -> dict[str, dict[str, Estimate]]:
    """Estimate every measure of every arm over its seeds.

    Args:
        rows: One a cell, as `run_study` returns them.
        control: An arm; the others' `error_random` is also compared with its, seed by seed, as `error_random_drop`.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    of = {arm: {row["seed"]: row for row in rows if row["arm"] == arm} for arm in arms}
    summary = {
        arm: {name: estimate([row[name] for row in seeds.values()]) for name in _measured(seeds.values())}
        for arm, seeds in of.items()
    }
    if control is not None:
        for arm, seeds in of.items():
            if arm != control:
                drops = [of[control][seed]["error_random"] - row["error_random"] for seed, row in seeds.items()]
                summary[arm]["error_random_drop"] = estimate(drops)
    return summary


def _measured(rows: Any) -> Iterator[str]:
    rows = list(rows)
    return (name for name in (*DECIDING, *TABLE) if all(name in row for row in rows))


def as_plain(summary: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    """Return the summary as rounded plain values, for JSON."""
    return {
        arm: {name: {key: _rounded(value) for key, value in asdict(found).items()} for name, found in measures.items()}
        for arm, measures in summary.items()
    }


def _rounded(value: Any) -> Any:
    return [round(each, 5) for each in value] if isinstance(value, tuple) else round(value, 5)


def as_table(summary: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Print the arms below each other: means with the 95 % interval over seeds of what decides, means of the rest.

    After the first column stands the smallest difference that so many seeds could have detected.
    """
    deciding, means = (
        [name for name in names if any(name in m for m in summary.values())] for names in (DECIDING, TABLE)
    )
    lines = [["arm", f"{deciding[0]} [95 %]", "detectable", *(f"{name} [95 %]" for name in deciding[1:]), *means]]
    for arm, measures in summary.items():
        shown = [str(measures.get(name, "")) for name in deciding]
        shown.insert(1, f"{measures[deciding[0]].detectable:.4f}")
        lines.append([arm, *shown, *(f"{measures[name].mean:.3f}" if name in measures else "" for name in means)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def study_figure(rows: Sequence[Row], grid_shape: tuple[int, int, int], title: str) -> NDArray[np.uint8]:
    """Draw, for each arm: the gain over the training, a line a seed; and where tokens were chosen, time to the right.

    Args:
        rows: One a cell, as `run_study` returns them.
        grid_shape: Of the tokens, (t, h, w).
        title: A line above the picture.

    Returns:
        The picture (height, width, 3).
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    figure = Figure(figsize=(11, 1.5 * len(arms) + 0.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(arms), 3, squeeze=False, width_ratios=(2, 2, 3))
    shown = {arm: np.mean([row["shown"] for row in rows if row["arm"] == arm], axis=0) for arm in arms}
    uniform = 1 / grid_shape[0] / grid_shape[1] / grid_shape[2] * float(np.sum(shown[arms[0]]))
    top = max(float(map_.max()) for map_ in shown.values())
    for (curve, deviation, places), arm in zip(axes, arms, strict=True):
        for row in (row for row in rows if row["arm"] == arm):
            steps = [point["step"] for point in row["curve"]]
            curve.plot(steps, [point["gain"] for point in row["curve"]], lw=0.8)
            deviation.plot(steps, [point.get("logit_deviation", 0.0) for point in row["curve"]], lw=0.8)
        curve.axhline(0, color="0.6", lw=0.5)
        curve.set_ylabel(arm, rotation=0, ha="right", va="center", fontsize=9)
        drawn = places.imshow(_in_a_row(shown[arm], grid_shape), cmap="magma", vmin=0, vmax=top)
        places.set(xticks=[], yticks=[])
    _share_y(axes[:, 0])
    for axis, name in zip(
        axes[0], ("gain by clips seen", "deviation of the logits", "share of masks that show a token"), strict=True
    ):
        axis.set_title(name, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes[:, 2], shrink=0.5)
    bar.ax.axhline(uniform, color="white")
    bar.set_label("white line: uniform", fontsize=8)
    figure.suptitle(title, fontsize=10)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _in_a_row(values: NDArray[Any], grid_shape: tuple[int, int, int]) -> NDArray[Any]:
    """Lay values (L,) out as the frames of the grid beside each other, a gap between them: (h, t * (w + 1) - 1)."""
    frames = np.asarray(values).reshape(grid_shape)
    return (
        np.pad(frames, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
        .transpose(1, 0, 2)
        .reshape(grid_shape[1], -1)[:, :-1]
    )


def _share_y(axes: Any) -> None:
    limits = [axis.get_ylim() for axis in axes]
    for axis in axes:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
