"""The columns of the leaderboard, by table."""

from collections.abc import Mapping

from tats_gym.agents.experiments.comparison.report import MEASURES, Measure
from tats_gym.agents.experiments.trials.estimates import DIFFERENCES

TABLES: Mapping[str, Mapping[str, Measure]] = {
    "Errors of reconstruction": {
        "error_random": MEASURES["error_random"],
        "error_random_drop": MEASURES["error_random_drop"],
        "reference_gain": Measure("gain under one MAE", "higher", 4),
        "reference_gain_rise": Measure("gain above random's", "higher", 4, deciding=True),
        "reference_content_gain": MEASURES["reference_content_gain"],
        "headroom_share": Measure("share of the headroom, per cent", "higher", 1, 100),
    },
    "Probes of the frozen encoder: top-1, per cent": {
        name: MEASURES[name] for name in ("knn", "knn_rise", "logistic", "logistic_rise", "attentive", "attentive_rise")
    },
    "Coordinates in games, decoded from the frozen encoder": {
        "r2_ridge": Measure("R² by ridge regression", "higher"),
        "r2_ridge_rise": Measure("by ridge, above random's", "higher", deciding=True),
        "r2_attentive": Measure("R² by an attentive decoder", "higher"),
        "r2_attentive_rise": Measure("by attention, above random's", "higher", deciding=True),
        "r2_attentive_small": Measure("by attention, balls and missiles", "higher"),
        "r2_attentive_small_rise": Measure("of these, above random's", "higher", deciding=True),
    },
    "The cost": {name: MEASURES[name] for name in ("masks_per_s", "peak_memory_mib", "extra_forwards", "cost_s")},
}
"""Title of each table to its columns, in the order shown."""

COLUMNS = {name: measure for table in TABLES.values() for name, measure in table.items()}
VALUES = tuple(dict.fromkeys((*(name for name in COLUMNS if name not in DIFFERENCES), "r2_ridge_small", "chance")))
"""Measures of a run that a result keeps, where the task has them."""
ESTIMATED = (
    *(name for name in VALUES if name != "chance"),
    *(name for name, (measure, _) in DIFFERENCES.items() if measure in VALUES),
)
"""Measures that are estimated over seeds, and their differences to the control."""
