"""Compares agents that train the same MAE from the same seeds, with the same number of forwards."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.experiments.comparison.measures import (
    ProbePlan,
    ReferenceMeasurement,
    has_labels,
    measure_under_reference,
    probe_trials,
    reference_mae,
)
from tats_gym.agents.experiments.probe.study import DEMO_PROBE, DEMO_TEST, DEMO_TRAIN
from tats_gym.agents.experiments.trials.trial import Trial, latest_run, read_row, run_trials
from tats_gym.agents.experiments.trials.variations import check_builds, with_agent, with_forwards
from tats_gym.clips import ClipConfig
from tats_gym.clips.demo.files import demo_data_of
from tats_gym.jobs.parallel import default_jobs, side_by_side
from tats_gym.registration import DEFAULT_ENV
from tats_gym.results import results_folder
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

logger = logging.getLogger(__name__)

CONTROL = "random"
"""The agent with which the others are compared seed by seed; its MAE is the reference for all masks."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The agents that are compared, and the settings that they share."""

    base: PretrainConfig
    """Settings of all runs, as `with_forwards` returns them; agent, seed and folder are set for each run."""
    agents: tuple[str, ...]
    """Names of agents, or `module:function`."""
    reference: str | None = None
    """A run or checkpoint whose MAE measures all masks; None takes, for each seed, the run of the agent `random`."""
    probe: ProbePlan | None = None
    """None skips the probes."""
    forwards: Mapping[str, int] = field(default_factory=dict)
    """Agent to its training forwards, where they are others than those of `base`."""

    def __post_init__(self) -> None:
        if not self.agents or len(set(self.agents)) < len(self.agents):
            raise ValueError(f"agents must be at least one, each named once, got {self.agents}")

    def config_of(self, agent: str) -> PretrainConfig:
        """Return the settings of an agent's runs, of any seed."""
        base = with_forwards(self.base, self.forwards[agent]) if agent in self.forwards else self.base
        return with_agent(base, agent)

    def trial_of(self, agent: str, seed: int, folder: Path) -> Trial:
        """Return an agent's run with a seed; `folder` holds a folder for each agent and seed."""
        return Trial(replace(self.config_of(agent), seed=seed), folder / file_name(agent) / f"seed{seed}")


def file_name(agent: str) -> str:
    """Return an agent's name as files and folders bear it."""
    return agent.replace(":", ".")


@dataclass(frozen=True)
class ComparisonResult:
    """The results of a comparison."""

    rows: list[dict[str, Any]]
    """One for each run, with its "agent" and "seed"."""
    notes: list[str]
    """Measures that are missing, with the reason."""


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """The agents that are compared, their clips and seeds, and where the results go."""

    agents: tuple[str, ...] = ("tats", "adamae", "random", "tube", "motion", "group")
    """Names of agents, or module:function of your own; with `random` among them the others are compared with it."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Every agent is trained with each."""
    forwards: int | None = None
    """Training forwards of the MAE in a run, clips times masks; None takes the preset's."""
    reference: str | None = None
    """A run whose MAE measures the masks of all agents; None takes, for each seed, that of the agent `random`."""
    probe: bool = True
    """Probe the encoders if the clips have labels."""
    jobs: int = field(default_factory=default_jobs)
    """Parallel runs; each takes its share of the cores."""
    label: str | None = None
    """Name of the data, for the names of the results; None takes the dataset's."""
    out: Path = Path("runs/comparisons")
    """Folder of the runs; stopped ones resume there."""
    results: Path = field(default_factory=results_folder)
    """Folder of table, numbers and picture."""
    base: PretrainConfig
    """Settings that all runs share."""
    probing: ProbePlan
    """Settings of the probes."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, jobs="[1, inf)", forwards="[1, inf)")  # before the demo's clips are drawn

    @property
    def comparison(self) -> Comparison:
        """The comparison, at the size that is asked for; the demo set that its encoders are probed on is made here.

        Raises:
            ValueError: If `with_forwards` or `Comparison` refuses the settings.
        """
        base = with_forwards(self.base, self.forwards)
        probe = with_demo_set(self.probing, base.clips) if self.probe else None
        return Comparison(base=base, agents=self.agents, reference=self.reference, probe=probe)


def defaults_for(env_id: str, preset: str | None = None) -> tuple[PretrainConfig, ProbePlan]:
    """Return the default settings and probes of a comparison on an id's clips; on the demo's clips, from scratch.

    Raises:
        ValueError: If there is no such id or preset; the message has the nearest name.
    """
    on_demo = env_id == DEFAULT_ENV
    base = replace(preset_for(env_id, preset or ("folder" if on_demo else None)), keep_checkpoints=1)
    if not on_demo:
        return base, ProbePlan()
    return replace(base, eval_clips=84, eval_masks=2), ProbePlan(pool="change", config=DEMO_PROBE)


def with_demo_set(plan: ProbePlan, clips: ClipConfig) -> ProbePlan:
    """Return the probes on a demo set of `DEMO_TRAIN` and `DEMO_TEST` clips, if agents train on the usual one.

    Args:
        plan: One with a folder stays as it is.
        clips: The agents' training data.
    """
    if clips.data != "demo" or clips.root is not None or plan.root is not None:
        return plan
    return replace(plan, root=str(demo_data_of(DEMO_TRAIN, DEMO_TEST)))


def run_comparison(
    comparison: Comparison, folder: Path, seeds: Sequence[int], *, jobs: int, own_process: bool = True
) -> ComparisonResult:
    """Train and measure the runs that are not done yet, `jobs` at a time.

    Args:
        comparison: Agents and settings.
        folder: Holds a folder for each agent and seed; stopped runs resume there.
        seeds: Every agent is trained with each.
        jobs: Parallel processes; each takes its share of the cores.
        own_process: Train every run in a process of its own, so that its peak memory is not another run's.

    Raises:
        ValueError: If an agent is unknown or cannot be built with these settings, if the reference holds no trained
            MAE of this geometry, or if `folder` holds runs with other settings; before anything is run.
        StoppedError: If a run was stopped; the next call resumes it.
    """
    check(comparison)
    probed, notes = _left_out(comparison)
    trials = {(agent, seed): comparison.trial_of(agent, seed, folder) for seed in seeds for agent in comparison.agents}
    run_trials(list(trials.values()), jobs=jobs, own_process=own_process)
    rows = {key: {"agent": key[0], **read_row(trial.folder)} for key, trial in trials.items()}
    if comparison.reference or CONTROL in comparison.agents:
        works = [_reference_measurement(comparison, trials, seed, folder) for seed in seeds]
        for work, measures in side_by_side(measure_under_reference, works, jobs=jobs):
            for agent, values in measures.items():
                rows[agent, work.config.seed] |= values
    if probed:
        assert comparison.probe is not None
        for key, values in zip(trials, probe_trials(list(trials.values()), comparison.probe, jobs=jobs), strict=True):
            rows[key] |= values
    if len(forwards := {row["steps"] for row in rows.values()}) > 1:
        notes.append(f"the numbers of training forwards differ: {sorted(forwards)}; see `steps` in the rows")
    return ComparisonResult(list(rows.values()), notes)


def _reference_measurement(
    comparison: Comparison, trials: dict[tuple[str, int], Trial], seed: int, folder: Path
) -> ReferenceMeasurement:
    runs = {agent: trials[agent, seed].folder for agent in comparison.agents}
    mae = comparison.reference or str(latest_run(runs[CONTROL]))
    return ReferenceMeasurement(replace(comparison.base, seed=seed), mae, runs, folder / f"reference-seed{seed}.json")


# --- Checks before the first run -------------------------------------------------------------------------------------


def check(comparison: Comparison) -> None:
    """Find all agents and the reference, and build every run once, see `check_builds`.

    Raises:
        ValueError: If a part is unknown or does not fit.
    """
    for agent in comparison.agents:
        find_agent(agent)
    if comparison.reference:
        reference_mae(comparison.reference, comparison.base)
    check_builds({agent: comparison.config_of(agent) for agent in comparison.agents})


def _left_out(comparison: Comparison) -> tuple[bool, list[str]]:
    """Return whether encoders are probed, and notes on the measures that will be missing."""
    notes = []
    if CONTROL not in comparison.agents:
        notes.append(f"no differences to {CONTROL!r}: it is not among the agents")
        if not comparison.reference:
            notes.append(f"no gain under one MAE: name {CONTROL!r} among the agents, or give a --reference")
    try:
        probed = comparison.probe is not None and has_labels(comparison.base, comparison.probe)
    except ValueError as err:
        raise ValueError(f"{err}; or leave the probes out (--no-probe)") from err
    if not probed:
        notes.append("no probes: " + ("not asked for" if comparison.probe is None else "the clips have no labels"))
    return probed, notes
