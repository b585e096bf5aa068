"""Estimates of measures over seeds, from the rows of trials."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tats_gym.statistics import Estimate, estimate

Row = Mapping[str, Any]

DIFFERENCES = {
    "error_random_drop": ("error_random", -1),
    "reference_gain_rise": ("reference_gain", 1),
    "reference_content_gain_rise": ("reference_content_gain", 1),
    "headroom_share_rise": ("headroom_share", 1),
    "logistic_rise": ("logistic", 1),
    "attentive_rise": ("attentive", 1),
    "knn_rise": ("knn", 1),
    "r2_ridge_rise": ("r2_ridge", 1),
    "r2_ridge_small_rise": ("r2_ridge_small", 1),
    "r2_attentive_rise": ("r2_attentive", 1),
    "r2_attentive_small_rise": ("r2_attentive_small", 1),
    "masks_per_s_rise": ("masks_per_s", 1),
    "peak_memory_mib_drop": ("peak_memory_mib", -1),
}
"""Name of a difference to the control: its measure, and the sign with which better is above zero."""

DECIDING = (
    *("gain", "content_gain", "headroom_share", "gain_in_part", "error_random_drop", "cosine", "slope"),
    *("r2_ridge", "r2_ridge_rise", "r2_ridge_small", "r2_ridge_small_rise"),
    *("r2_attentive", "r2_attentive_rise", "r2_attentive_small", "r2_attentive_small_rise"),
)
"""Measures that the table shows with their interval over seeds."""

FROM_ZERO = ("gain", "cosine", *DIFFERENCES)
"""Measures beside which the table shows the smallest mean that so many seeds can tell from zero."""

TABLE = (
    "error_own",
    "error_in_part",
    "agreement",
    "error_random",
    "overlap",
    "motion_lift",
    "object_lift",
    "acting_lift",
    "logit_deviation",
    "never_chosen",
    "value_error",
    "signal_to_noise",
)
"""Measures that the table shows by their mean."""


def summarise(
    rows: Sequence[Row], control: str | None = None, *, by: str = "arm", names: Sequence[str] = (*DECIDING, *TABLE)
) -> dict[str, dict[str, Estimate]]:
    """Estimate every measure of every arm over its seeds.

    Args:
        rows: One a trial, as `run_study` returns them.
        control: An arm; the others are also compared with it seed by seed, see `DIFFERENCES`.
        by: Key of the arm's name in a row.
        names: The measures; those that some row of an arm lacks are left out for that arm.
    """
    if control is not None:
        rows = with_differences(rows, control, by)
    summary = {}
    for arm in dict.fromkeys(row[by] for row in rows):
        arm_rows = [row for row in rows if row[by] == arm]
        measured = [name for name in names if all(name in row for row in arm_rows)]
        summary[arm] = {name: estimate([row[name] for row in arm_rows]) for name in measured}
    return summary


def with_differences(rows: Sequence[Row], control: str, by: str = "arm") -> list[Row]:
    """Add to all rows but the control's their differences to the control's row of the same seed, see `DIFFERENCES`."""
    control_rows = {row["seed"]: row for row in rows if row[by] == control}
    compared: list[Row] = []
    for row in rows:
        control_row = control_rows[row["seed"]]
        differences = {
            new: sign * (row[name] - control_row[name]) for new, (name, sign) in DIFFERENCES.items() if name in row
        }
        compared.append(row if row is control_row else {**row, **differences})
    return compared


def as_plain(summary: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    """Return the summary as rounded plain values, for JSON."""
    return {
        arm: {name: rounded(asdict(value)) for name, value in measures.items()} for arm, measures in summary.items()
    }


def rounded(value: Any) -> Any:
    """Return plain values with five decimal places, for JSON; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
