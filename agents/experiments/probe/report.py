"""Reports of probes: paired differences and a picture of a study's rows, and tables of single records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tats_gym.figures.canvas import pixels_of
from tats_gym.results import aligned
from tats_gym.statistics import Estimate, estimate

Row = Mapping[str, Any]
Record = Mapping[str, Any]
Place = tuple[str, str]
"""Dataset and mask ratio of a row."""


class ProbeKind(NamedTuple):
    """A kind of probe: the agent, and how its encoder's features are read."""

    agent: str
    method: str
    pool: str
    norm: str


class PretrainingEffect(NamedTuple):
    """Top-1 after pre-training, before it, and the difference of both seed by seed."""

    trained: Estimate
    untrained: Estimate
    difference: Estimate


def pretraining_effects(rows: Sequence[Row]) -> dict[ProbeKind, PretrainingEffect]:
    """Compare the last step of every seed with its first, at which the weights are untrained."""
    kinds = dict.fromkeys(_kind_of(row) for row in rows)
    last = max(row["step"] for row in rows)
    effects = {}
    for kind in kinds:
        rows_of_kind = [row for row in rows if _kind_of(row) == kind]
        after, before = (
            {row["seed"]: row["top1"] for row in rows_of_kind if row["step"] == step} for step in (last, 0)
        )
        if after.keys() != before.keys():
            raise ValueError(f"{kind}: seeds {sorted(after)} have a last step, but {sorted(before)} a first one")
        pairs = [after[seed] - before[seed] for seed in sorted(after)]
        effects[kind] = PretrainingEffect(
            *(estimate(list(values)) for values in (after.values(), before.values(), pairs))
        )
    return effects


def effect_table(effects: Mapping[ProbeKind, PretrainingEffect], chance: float) -> str:
    """Return a table of top-1 in per cent as text, with 95 % intervals over seeds by Student's t."""
    lines = [["masks", "method", "pool", "norm", "seeds", "chance", "untrained", "pre-trained", "difference [95 %]"]]
    for kind, (trained, untrained, difference) in effects.items():
        interval = f"{_points(difference.mean)} [{_points(difference.low)}, {_points(difference.high)}]"
        lines.append(
            [
                *kind,
                str(len(difference.values)),
                f"{100 * chance:.1f}",
                *(f"{100 * each.mean:.1f}" for each in (untrained, trained)),
                interval,
            ]
        )
    return "\n".join(aligned(lines))


def probe_figure(rows: Sequence[Row], title: str) -> NDArray[np.uint8]:
    """Draw top-1 over masks so far: a column for each method, a row for each pool, a line for each seed.

    The thick line is the mean over seeds; chance is dotted.

    Returns:
        The picture (height, width, 3).
    """
    methods, pools = (list(dict.fromkeys(row[name] for row in rows)) for name in ("method", "pool"))
    figure = Figure(figsize=(4.5 * len(methods) + 1, 2.4 * len(pools) + 0.8), dpi=100, layout="constrained")
    axes = figure.subplots(len(pools), len(methods), squeeze=False, sharex=True, sharey=True)
    lines = list(dict.fromkeys((row["agent"], row["norm"]) for row in rows))
    for across, pool in zip(axes, pools, strict=True):
        for axis, method in zip(across, methods, strict=True):
            for colour, line in enumerate(lines):
                rows_of_line = [row for row in rows if _kind_of(row) == ProbeKind(line[0], method, pool, line[1])]
                _draw(axis, rows_of_line, f"C{colour}", f"{line[0]} masks, norm {line[1]}")
            axis.axhline(100 * rows[0]["chance"], color="0.5", ls=":")
            axis.set_title(f"{method}, pool {pool}", fontsize=9)
        across[0].set_ylabel("top-1, per cent", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("masks of pre-training", fontsize=8)
    axes[0, 0].legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    return pixels_of(figure)


def _draw(axis: Any, rows: Sequence[Row], colour: str, label: str) -> None:
    seeds = sorted({row["seed"] for row in rows})
    steps = sorted({row["step"] for row in rows})
    curves = [[100 * row["top1"] for row in sorted(rows, key=_step) if row["seed"] == seed] for seed in seeds]
    for curve in curves:
        axis.plot(steps, curve, color=colour, lw=0.6, alpha=0.6)
    axis.plot(steps, np.mean(curves, axis=0), color=colour, lw=2, label=label)


def _step(row: Row) -> int:
    return int(row["step"])


def _kind_of(row: Row) -> ProbeKind:
    return ProbeKind(*(row[name] for name in ProbeKind._fields))


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


# --- Records of many encoders (the supplement's Table 6) --------------------------------------------------------------


def record_tables(records: Sequence[Record]) -> str:
    """Return a table as text for each method, pool and norm: top-1 and top-5 of every encoder in per cent.

    Records of one sampler and mask ratio, from several seeds, share a cell: their mean, the half-width of its 95 %
    interval over seeds by Student's t, and the number of seeds.
    """
    kinds = dict.fromkeys((r["method"], r["pool"], r["norm"]) for r in records)
    return "\n\n".join(
        _table(kind, [r for r in records if (r["method"], r["pool"], r["norm"]) == kind]) for kind in kinds
    )


def _table(kind: tuple[str, str, str], records: Sequence[Record]) -> str:
    samplers = list(dict.fromkeys(sampler_of(r) for r in records))
    places = list(dict.fromkeys(place_of(r) for r in records))
    lines = [["dataset", "mask ratio", "chance", *(f"{s} {top}" for s in samplers for top in ("top-1", "top-5"))]]
    for place in places:
        row_records = [r for r in records if place_of(r) == place]
        row = [*place, _percent(row_records[0]["chance"])]
        for sampler in samplers:
            cell = [r for r in row_records if sampler_of(r) == sampler]
            row += [_mean([r[top] for r in cell if r[top] is not None]) for top in ("top1", "top5")]
        lines.append(row)
    method, pool, norm = kind
    pooled = "mean over tokens" if pool == "mean" else f"pool {pool}"
    title = f"{method}, {pooled}, {'after' if norm == 'encoder' else 'before'} encoder.norm; per cent"
    return "\n".join((title, *aligned(lines)))


def sampler_of(record: Record) -> str:
    """Return the head of a record's column: the agent of the pre-training, or the encoder's name if it is unknown."""
    origin = record["encoder"]
    if origin["kind"] == "preset":
        return f"untrained {origin['path']}"
    return str(origin.get("agent") or Path(origin["path"]).name)


def place_of(record: Record) -> Place:
    """Return the row of a record: dataset, and mask ratio or number of visible tokens of the pre-training."""
    origin = record["encoder"]
    if origin.get("visible") is not None:
        return record["data"], f"{origin['visible']} visible"
    ratio = origin.get("mask_ratio")
    return record["data"], "-" if ratio is None else f"{ratio:.2f}"


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    estimated = estimate(values)
    return _percent(estimated.mean) + (
        f" ± {_percent(estimated.half_width)} (n {len(values)})" if len(values) > 1 else ""
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
