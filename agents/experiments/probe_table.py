"""The records of probes as a table: datasets and mask ratios down, samplers across (the supplement's Table 6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tats_gym.agents.experiments.text_table import aligned
from tats_gym.statistics import estimate

Record = Mapping[str, Any]
Place = tuple[str, str]
"""Dataset and mask ratio of a row."""


def as_tables(records: Sequence[Record]) -> str:
    """Print a table for each method, pool and norm: top-1 and top-5 of every encoder in per cent.

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
        here = [r for r in records if place_of(r) == place]
        row = [*place, _percent(here[0]["chance"])]
        for sampler in samplers:
            cell = [r for r in here if sampler_of(r) == sampler]
            row += [_mean([r[top] for r in cell if r[top] is not None]) for top in ("top1", "top5")]
        lines.append(row)
    method, pool, norm = kind
    pooled = "mean over tokens" if pool == "mean" else f"pool {pool}"
    title = f"{method}, {pooled}, {'after' if norm == 'encoder' else 'before'} encoder.norm; per cent"
    return "\n".join((title, *aligned(lines)))


def sampler_of(record: Record) -> str:
    """Who made the masks of the pre-training, as a column's head; the encoder's name where that is not known."""
    origin = record["encoder"]
    if origin["kind"] == "preset":
        return f"untrained {origin['path']}"
    return str(origin.get("agent") or Path(origin["path"]).name)


def place_of(record: Record) -> Place:
    """The row: dataset, and mask ratio or number of visible tokens of the pre-training."""
    origin = record["encoder"]
    if origin.get("visible") is not None:
        return record["data"], f"{origin['visible']} visible"
    ratio = origin.get("mask_ratio")
    return record["data"], "-" if ratio is None else f"{ratio:.2f}"


def _mean(values: Sequence[float]) -> str:
    if not values:
        return "-"
    found = estimate(values)
    return _percent(found.mean) + (f" ± {_percent(found.half_width)} (n {len(values)})" if len(values) > 1 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
