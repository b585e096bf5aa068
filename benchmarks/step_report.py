"""Summaries and tables of the step benchmark's rounds."""

from statistics import median
from typing import Any

from tats_gym.benchmarks.record import over_rounds
from tats_gym.results import aligned

Round = dict[str, Any]
"""One measurement of one variant: measure to value."""


def summary(rounds: list[Round]) -> dict[str, Any]:
    """Return each measure of a variant: the median over rounds, and all of them."""
    medians: dict[str, Any] = {
        name: over_rounds([each[name] for each in rounds]) for name in rounds[0] if name != "parts_s_a_clip"
    }
    if "parts_s_a_clip" in rounds[0]:
        parts = [each["parts_s_a_clip"] for each in rounds]
        medians["parts_s_a_clip"] = {name: over_rounds([each[name] for each in parts]) for name in parts[0]}
    return medians


def ratio(ours: list[Round], theirs: list[Round]) -> dict[str, Any]:
    """Return our seconds and our peak memory over theirs, round by round."""
    pairs = list(zip(ours, theirs, strict=True))
    return {name: over_rounds([a[name] / b[name] for a, b in pairs]) for name in ("s_a_clip", "peak_memory_mib")}


def report(record: dict[str, Any]) -> list[str]:
    """Return the tables: every variant, the parts of ours, the ratios."""
    lines = [["", "s a clip", "clips/s", "GFLOP a clip", "of the matrix rate", "peak MiB", "copied MiB a clip"]]
    for name, numbers in record["variants"].items():
        seconds, flops = numbers["s_a_clip"]["median"], numbers["gflop_a_clip"]["median"]
        rate = numbers["gflop_per_s"]["median"] / numbers["matrix_gflop_per_s"]["median"]
        copied = numbers["copied_bytes_a_clip"]["median"] / 2**20
        peak = numbers["peak_memory_mib"]["median"]
        lines.append(
            [
                name,
                f"{seconds:.4g}",
                f"{1 / seconds:.4g}",
                f"{flops:.1f}",
                f"{rate:.0%}",
                f"{peak:.0f}",
                f"{copied:.3g}",
            ]
        )
    rates = [numbers["matrix_gflop_per_s"]["median"] for numbers in record["variants"].values()]
    table = [*aligned(lines), f"matrix rate: {median(rates):.0f} GFLOP/s", ""]
    for name, numbers in record["variants"].items():
        if "parts_s_a_clip" not in numbers:
            continue
        table.append(f"{name}, s a clip:")
        parts = numbers["parts_s_a_clip"].items()
        table += aligned([[f"  {part}", f"{values['median']:.4g}"] for part, values in parts])
    table += ["", "ratios within rounds, median (range):"]
    for name, numbers in record["ratios"].items():
        ranges = [f"{_range(numbers[each])}" for each in ("s_a_clip", "peak_memory_mib")]
        table.append(f"  {name}: time {ranges[0]}, memory {ranges[1]}")
    return table


def _range(values: dict[str, Any]) -> str:
    return f"{values['median']:.2f} ({min(values['rounds']):.2f} to {max(values['rounds']):.2f})"
