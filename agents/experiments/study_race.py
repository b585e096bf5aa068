"""Who needs less for the same: forwards of the MAE until a gain is reached."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tats_gym.agents.experiments.study_report import Row
from tats_gym.agents.experiments.text_table import aligned


def forwards_to(row: Row, gain: float) -> float:
    """Return the MAE forwards after which a run's curve first reaches a gain, infinity if it never does.

    Between two measurements the curve is a straight line, from no gain at no forwards on; forwards that the reward
    cost beside those for the agent's own masks count too.
    """
    each = 1 + row["extra_forwards"] / row["steps"]
    before, reached = 0.0, 0.0
    for point in row["curve"]:
        here, now = point["step"] * each, point["gain"]
        if now >= gain:
            share = (gain - reached) / (now - reached)
            return float(before + share * (here - before))
        before, reached = here, now
    return math.inf


def race(rows: Sequence[Row], gain: float) -> dict[str, Any]:
    """Collect, for each arm, the forwards to a gain: one a seed, and their median; None where it was not reached."""
    found: dict[str, Any] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        each = [forwards_to(row, gain) for row in rows if row["arm"] == arm]
        of_all = [round(number) if math.isfinite(number) else None for number in (*each, np.median(each))]
        found[arm] = {"forwards": of_all[:-1], "median": of_all[-1]}
    return found


def race_table(found: dict[str, Any], gain: float) -> str:
    """Print how many seeds of each arm reached the gain, and after how many forwards half of all seeds had."""
    lines = [["arm", f"reached {gain}", "forwards, median", "each seed"]]
    for arm, of in found.items():
        each = of["forwards"]
        shown = ["never" if number is None else f"{number:,}" for number in (of["median"], *each)]
        lines.append([arm, f"{len(each) - each.count(None)} of {len(each)}", shown[0], "  ".join(shown[1:])])
    return "\n".join(aligned(lines))
