"""Runs a study: every arm with every seed, in parallel and resumable, with one row of numbers for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.trials.trial import Trial, latest_run, read_row, run_trials
from tats_gym.agents.experiments.trials.variations import Changes, with_changes


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms that differ in a few settings, and start from the same MAE for the same seed."""

    about: str
    """The question, in a sentence."""
    start: PretrainConfig | None
    """Trains the MAE from which all arms of a seed start; None lets each start from `base.init_mae`, or untrained."""
    base: PretrainConfig
    """Settings that the arms share."""
    arms: Mapping[str, Changes]
    """Name of each arm to its settings."""
    control: str | None = None
    """The arm with which the others are compared seed by seed."""
    measures: tuple[str, ...] = ()
    """Further measures, see `tats_gym.agents.experiments.studies.measures.MEASURES`."""
    target_gain: float | None = None
    """A gain; the report gives each arm's MAE forwards until it is reached."""


def run_study(study: Study, folder: Path, starts: Path, seeds: Sequence[int], *, jobs: int) -> list[dict[str, Any]]:
    """Run the trials that are not done yet, `jobs` at a time, and return the rows of all arms.

    Args:
        study: The study.
        folder: Holds a folder for each trial; trials that have a row there are not run again.
        starts: Holds the runs from whose MAEs the arms start; studies with the same start can share them.
        seeds: Every arm is run with each.
        jobs: Parallel processes; each takes its share of the cores.
    """
    trials = []
    for base in run_starts(study, starts, seeds, jobs=jobs):
        for arm, changes in study.arms.items():
            trials.append(Trial(with_changes(base, changes), folder / arm / f"seed{base.seed}"))
    run_trials(trials, jobs=jobs)
    return [{"arm": trial.folder.parent.name, **read_row(trial.folder)} for trial in trials]


def run_starts(study: Study, starts: Path, seeds: Sequence[int], *, jobs: int) -> list[PretrainConfig]:
    """Train the missing MAEs from which the arms start, and return the settings that the arms of each seed share."""
    bases = [replace(study.base, seed=seed) for seed in seeds]
    if study.start is None:
        return bases
    firsts = [Trial(replace(study.start, seed=seed), starts / f"seed{seed}") for seed in seeds]
    run_trials(firsts, jobs=jobs)
    return [replace(base, init_mae=str(latest_run(first.folder))) for base, first in zip(bases, firsts, strict=True)]
