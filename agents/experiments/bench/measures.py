"""Measures of a task beyond those of a comparison: shares of the headroom, and coordinates in games."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.comparison.measures import reference_mae
from tats_gym.agents.experiments.studies.game_coordinates import RESULT, decoded_coordinates
from tats_gym.agents.experiments.studies.measures import OWN, hand_masks
from tats_gym.agents.experiments.trials.stored_results import read_result, store_result
from tats_gym.agents.experiments.trials.trial import Trial, latest_run
from tats_gym.jobs.parallel import side_by_side
from tats_gym.jobs.work_queue import name_of, share_out
from tats_gym.probe.features import weights_digest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Search:
    """The search of masks under one MAE."""

    config: PretrainConfig
    """Settings of the runs, with the seed of the search; `init_mae` is the MAE."""
    file: Path
    """File of the result."""


def headroom(config: PretrainConfig, maes: Mapping[int, str], folder: Path, *, jobs: int) -> dict[int, float]:
    """Search the mask of each held-out clip under every MAE; return their gain, which is the headroom, by seed.

    Args:
        config: Settings that the runs share.
        maes: Seed of the search to the MAE: a run, or a name.
        folder: Keeps the results.
        jobs: Parallel searches; each takes its share of the cores.
    """
    searches = [
        Search(replace(config, seed=seed, init_mae=mae), folder / f"headroom-seed{seed}.json")
        for seed, mae in maes.items()
    ]
    return {search.config.seed: gain for search, gain in side_by_side(_searched_gain, searches, jobs=jobs)}


def _searched_gain(search: Search) -> float:
    config = search.config
    assert config.init_mae is not None
    inputs = {"mae": weights_digest(reference_mae(config.init_mae, config))}
    found = read_result(search.file, inputs) or store_result(
        search.file, inputs, {row["arm"]: row["gain"] for row in hand_masks(config)}
    )
    gain: float = found[OWN]
    return gain


def coordinates(trials: Sequence[Trial], *, jobs: int) -> list[dict[str, Any]]:
    """Decode the coordinates in games from the final encoders of runs: a row for each, see `decoded_coordinates`.

    Several machines that share the folders can do this together, see `share_out`.
    """
    for trial, _ in share_out(_decode, trials, _is_decoded, jobs=jobs):
        logger.info("decoded the coordinates of %s", name_of(trial))
    return [_decode(trial) for trial in trials]


def _is_decoded(trial: Trial) -> bool:
    return (latest_run(trial.folder) / RESULT).is_file()


def _decode(trial: Trial) -> dict[str, Any]:
    (row,) = decoded_coordinates(replace(trial.config, init_mae=str(latest_run(trial.folder))))
    return row
