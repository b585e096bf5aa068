"""Reports of a study's rows: estimates over seeds, a table, a picture, and MAE forwards until a given gain."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tats_gym.agents.experiments.trials.estimates import DECIDING, FROM_ZERO, TABLE, Row
from tats_gym.figures.canvas import pixels_of
from tats_gym.results import aligned
from tats_gym.statistics import Estimate
from tats_gym.tokens import GridShape


def with_headroom_share(rows: Sequence[Row], searched: Mapping[int, float], gain: str = "gain") -> list[dict[str, Any]]:
    """Return rows with their share of the headroom, `headroom_share`; of "gain" only where the MAE was not trained.

    Args:
        rows: One a trial, as `run_study` returns them.
        searched: The gain of each clip's own searched mask under the MAE of a seed; of one seed if they share the MAE.
        gain: Name of the gain under that MAE.
    """
    shared = next(iter(searched.values()))
    return [
        dict(row)
        if gain == "gain" and row["mae_steps"]
        else {**row, "headroom_share": row[gain] / searched.get(row["seed"], shared)}
        for row in rows
    ]


def study_table(summary: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Return a table of the arms as text: `DECIDING` measures with 95 % intervals over seeds, `TABLE` means.

    After those of `FROM_ZERO` stands the smallest difference that so many seeds can detect.
    """
    deciding, means = (
        [name for name in names if any(name in m for m in summary.values())] for names in (DECIDING, TABLE)
    )
    lines = [["arm", "seeds"]]
    for name in deciding:
        lines[0] += [f"{name} [95 %]", *(["detectable"] if name in FROM_ZERO else [])]
    lines[0] += means
    for arm, measures in summary.items():
        lines.append([arm, str(len(next(iter(measures.values())).values))])
        for name in deciding:
            value = measures.get(name)
            lines[-1].append(str(value or ""))
            if name in FROM_ZERO:
                lines[-1].append(f"{value.detectable:.4f}" if value else "")
        lines[-1] += [f"{measures[name].mean:.3f}" if name in measures else "" for name in means]
    return "\n".join(aligned(lines))


def study_figure(rows: Sequence[Row], grid_shape: GridShape, title: str) -> NDArray[np.uint8]:
    """Draw gain and logit deviation of each arm over the training, a line for each seed, and its chosen tokens.

    Args:
        rows: One a trial, as `run_study` returns them.
        grid_shape: Token grid (t, h, w).
        title: A line above the picture.

    Returns:
        The picture (height, width, 3).
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    figure = Figure(figsize=(11, 1.5 * len(arms) + 0.8), dpi=100, layout="constrained")
    axes = figure.subplots(len(arms), 3, squeeze=False, width_ratios=(2, 2, 3))
    visible = {arm: np.mean([row["shown"] for row in rows if row["arm"] == arm], axis=0) for arm in arms}
    uniform = 1 / grid_shape[0] / grid_shape[1] / grid_shape[2] * float(np.sum(visible[arms[0]]))
    top = max(float(map_.max()) for map_ in visible.values())
    for (curve, deviation, places), arm in zip(axes, arms, strict=True):
        for row in (row for row in rows if row["arm"] == arm):
            steps = [point["step"] for point in row["curve"]]
            curve.plot(steps, [point["gain"] for point in row["curve"]], lw=0.8)
            deviation.plot(steps, [point.get("logit_deviation", 0.0) for point in row["curve"]], lw=0.8)
        curve.axhline(0, color="0.6", lw=0.5)
        curve.set_ylabel(arm, rotation=0, ha="right", va="center", fontsize=9)
        drawn = places.imshow(_in_a_row(visible[arm], grid_shape), cmap="magma", vmin=0, vmax=top)
        places.set(xticks=[], yticks=[])
    _share_y(axes[:, 0])
    for axis, name in zip(
        axes[0], ("gain by masks", "std of the logits", "share of masks that show a token"), strict=True
    ):
        axis.set_title(name, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes[:, 2], shrink=0.5)
    bar.ax.axhline(uniform, color="white")
    bar.set_label("white line: uniform", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return pixels_of(figure)


def _in_a_row(values: NDArray[Any], grid_shape: GridShape) -> NDArray[Any]:
    """Lay values (L,) out as the grid's frames side by side, with a gap between them: (h, t * (w + 1) - 1)."""
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


# --- Forwards of the MAE until a gain ---------------------------------------------------------------------------------


def forwards_to(row: Row, gain: float) -> float:
    """Return the MAE forwards after which a run's curve first reaches a gain, infinity if it never does.

    The curve is linear between measurements and starts at a gain of 0 after 0 forwards; forwards for the reward count
    as well as those for the agent's own masks.
    """
    each = 1 + row["extra_forwards"] / row["steps"]
    before, reached = 0.0, 0.0
    for point in row["curve"]:
        point_here, now = point["step"] * each, point["gain"]
        if now >= gain:
            share = (gain - reached) / (now - reached)
            return float(before + share * (point_here - before))
        before, reached = point_here, now
    return math.inf


def forwards_by_arm(rows: Sequence[Row], gain: float) -> dict[str, Any]:
    """Return each arm's forwards until a gain: one for each seed, and their median; None if it was not reached."""
    forwards: dict[str, Any] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        each = [forwards_to(row, gain) for row in rows if row["arm"] == arm]
        numbers = [round(number) if math.isfinite(number) else None for number in (*each, np.median(each))]
        forwards[arm] = {"forwards": numbers[:-1], "median": numbers[-1]}
    return forwards


def forwards_table(forwards: dict[str, Any], gain: float) -> str:
    """Return a table as text: the seeds of each arm that reached the gain, and the median forwards over all seeds."""
    lines = [["arm", f"reached {gain}", "forwards, median", "each seed"]]
    for arm, numbers in forwards.items():
        each = numbers["forwards"]
        cells = ["never" if number is None else f"{number:,}" for number in (numbers["median"], *each)]
        lines.append([arm, f"{len(each) - each.count(None)} of {len(each)}", cells[0], "  ".join(cells[1:])])
    return "\n".join(aligned(lines))
