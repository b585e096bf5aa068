"""The studies by name, with their arms, settings and lengths; and the command that carries one out."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.experiments.measures import measured
from tats_gym.agents.experiments.study import Changes, Study, run_study
from tats_gym.agents.experiments.study_report import (
    as_plain,
    forwards_by_arm,
    forwards_table,
    study_figure,
    study_table,
    summarise,
)
from tats_gym.agents.tats import TatsConfig
from tats_gym.files.atomic import make_folder
from tats_gym.model.training import MAEOptimConfig
from tats_gym.runs.parallel_jobs import default_jobs
from tats_gym.runs.results import origin_of, write_results

_DEMO = replace(
    PRESETS["demo"],
    reward="neg_error",
    eval_clips=84,
    eval_masks=2,
    log_interval=10,
    keep_checkpoints=1,
)


def _trained(*, clips: int, num_envs: int, parts: int) -> PretrainConfig:
    """Return the settings of a run over `clips` clips, measured and saved at the end of each of its parts."""
    epoch = clips // parts
    return replace(
        _DEMO,
        num_envs=num_envs,
        epoch_clips=epoch,
        eval_interval=epoch,
        mae_optim=MAEOptimConfig(epochs=parts, warmup_epochs=1, base_lr=1e-3 * 256 / num_envs, min_lr=0.0),
        tats=TatsConfig(learning_rate=3e-3, warmup_epochs=0, policy_coef=1.0, vf_coef=1.0),
    )


def _uniform(clips: int) -> PretrainConfig:
    """Return the settings that train an MAE under uniform masks, 16 clips a step, at a constant learning rate."""
    config = _trained(clips=clips, num_envs=16, parts=10)
    optim = replace(config.mae_optim, min_lr=config.mae_optim.base_lr)
    return replace(config, agent="random", eval_interval=clips // 2, mae_optim=optim)


_START = _uniform(19_200)
_TOKEN: dict[str, Changes] = {
    "token": {"tats.credit": "token", "tats.ent_coef": 1.0},
    "token, no baseline": {"tats.credit": "token", "tats.baseline": "none", "tats.ent_coef": 1.0},
    "token, colder": {"tats.credit": "token", "tats.ent_coef": 0.1},
}
_POSITION: dict[str, Changes] = {
    f"position, {reward}": {"tats.credit": "position", "tats.ent_coef": 1e-4, "reward": reward}
    for reward in ("neg_error", "gain")
}
_JOINT: dict[str, Changes] = {
    f"joint, {reward}": {"tats.credit": "joint", "tats.ent_coef": 1e-3, "reward": reward}
    for reward in ("gain", "neg_error", "error")
}
_GROUP: dict[str, Changes] = {
    f"group of {masks}, {credit}": {
        "agent": "group",
        "masks_per_clip": masks,
        "tats.credit": credit,
        "tats.ent_coef": ent_coef,
    }
    for masks, credit, ent_coef in ((4, "joint", 1e-3), (8, "joint", 1e-3), (4, "position", 1e-4), (4, "token", 1.0))
}
_HALF: Changes = {"mae_optim.epochs": 6}  # the reward `gain` costs a second forward of each clip

STUDIES: Mapping[str, Study] = {
    "frozen": Study(
        about="Which credit and reward teach a sampler to lower the error of an MAE that does not change?",
        start=_START,
        base=replace(_trained(clips=7_680, num_envs=64, parts=3), train_mae=False),
        arms={**_JOINT, **_POSITION, **_TOKEN, "uniform": {"agent": "random", "mae_optim.epochs": 2}},
        measures=("masks_by_hand", "gradients_at_uniform"),
    ),
    "group": Study(
        about="Which needs fewer forwards of the MAE for the same gain, PPO's value network or a clip's other masks?",
        start=_START,
        base=replace(_trained(clips=7_680, num_envs=64, parts=12), train_mae=False),
        arms={
            "PPO, joint, gain": {**_JOINT["joint, gain"], **_HALF},
            "PPO, position, gain": {**_POSITION["position, gain"], **_HALF},
            "PPO, joint, neg_error": _JOINT["joint, neg_error"],
            **_GROUP,
        },
        target_gain=0.03,
    ),
    "critic": Study(
        about="Does a value network in which only frames ask, not every token, teach a sampler as well?",
        start=_START,
        base=replace(_trained(clips=7_680, num_envs=64, parts=3), train_mae=False),
        arms={
            f"{critic}, {name}": {**_JOINT[name], "sampler.critic": critic}
            for name in ("joint, gain", "joint, neg_error")
            for critic in ("separate", "pooled", "shared")
        },
    ),
    "joint": Study(
        about="What does each credit do to sampler and MAE that learn together, after a start under uniform masks?",
        start=_START,
        base=_trained(clips=6_400, num_envs=16, parts=4),
        arms={
            "uniform": {"agent": "random"},
            "constant": {"agent": "constant"},
            **{arm: {**changes, "tats.n_steps": 2} for arm, changes in {**_TOKEN, **_POSITION, **_JOINT}.items()},
        },
        control="uniform",
    ),
    "decoder": Study(
        about="What does an MAE learn that decodes a part of the hidden tokens, and what is left of the rewards?",
        start=None,
        base=_START,
        arms={"all decoded": {}, "half decoded": {"decode_ratio": 0.5}, "quarter decoded": {"decode_ratio": 0.25}},
        control="all decoded",
        measures=("decoded_in_part",),
    ),
}
"""c1 is 1. Per-token credit has the paper's c3 = c1, or a tenth; a clip's advantage is smaller, and so is its c3."""


@dataclass(frozen=True)
class StudyConfig:
    """A study, its data, arms and seeds, and where its results go."""

    name: Annotated[Literal["frozen", "group", "critic", "joint", "decoder"], tyro.conf.Positional]
    """Name of the study; see agents/experiments/studies.py."""
    root: str | None = None
    """A folder of videos to use instead of the demo data."""
    label: str = "demo"
    """Name of the data, for the names of the results."""
    arms: tuple[str, ...] = ()
    """Run only these arms; all if none is named."""
    seeds: int = 5
    """Every arm is run with the seeds 0, 1, ..."""
    jobs: int = field(default_factory=default_jobs)
    """Parallel runs; each takes its share of the cores."""
    out: Path = Path("runs/studies")
    """Folder of the runs; a stopped study resumes there."""
    results: Path = Path("benchmarks/results")
    """Folder of numbers and picture."""

    @property
    def command(self) -> str:
        """The command line of these numbers, without the folders of data and runs."""
        words = ["python", "scripts/study.py", self.name, "--seeds", str(self.seeds)]
        words += ["--root", "FOLDER", "--label", self.label] if self.root else []
        words += ["--arms", *self.arms] if self.arms else []
        return shlex.join(words)

    @property
    def study(self) -> Study:
        """The study of this name, with the requested arms and data.

        Raises:
            ValueError: If it has no such arm, or if its control is not among the requested ones.
        """
        study = STUDIES[self.name]
        if self.root:
            study = on_folder(study, self.root)
        if unknown := set(self.arms) - set(study.arms):
            raise ValueError(f"the study {self.name} has no arm {sorted(unknown)}; it has {list(study.arms)}")
        if self.arms and study.control not in (None, *self.arms):
            raise ValueError(f"the study {self.name} compares with the arm {study.control!r}; name it among --arms too")
        return replace(study, arms={arm: study.arms[arm] for arm in self.arms or study.arms})


def on_folder(study: Study, root: str) -> Study:
    """Return the study on a folder of videos."""

    def moved(config: PretrainConfig) -> PretrainConfig:
        return replace(config, env="TatsMask-folder-v0", clips=replace(config.clips, data="folder", root=root))

    return replace(study, start=study.start and moved(study.start), base=moved(study.base))


def report_study(config: StudyConfig) -> Iterator[str]:
    """Run the missing cells of a study and write the results; yield the tables, and where the results lie.

    Raises:
        ValueError: If an arm is unknown, see `StudyConfig.study`.
        StoppedError: If a run was stopped; the next call resumes it.
    """
    make_folder(config.results)  # before hours of work
    study, seeds = config.study, range(config.seeds)
    folder, starts = (config.out / f"{name}-{config.label}" for name in (config.name, "start"))
    rows = run_study(study, folder, starts, seeds, jobs=config.jobs)
    summary = summarise(rows, control=study.control)
    yield study_table(summary)
    record = {**_about(config, study, rows), "arms": as_plain(summary)}
    if study.target_gain is not None:
        forwards = forwards_by_arm(rows, study.target_gain)
        yield f"\n{forwards_table(forwards, study.target_gain)}"
        record["forwards_to"] = {"gain": study.target_gain, "arms": forwards}
    for name in study.measures:
        found = summarise(measured(name, study, folder, starts, seeds, jobs=config.jobs))
        yield f"\n{name}\n{study_table(found)}"
        record[name] = as_plain(found)
    picture = study_figure(rows, study.base.grid.shape, f"{config.name}, {config.label}: {config.seeds} seeds")
    yield write_results(config.results / f"study_{config.name}_{config.label}", record, picture)


def _about(config: StudyConfig, study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe the numbers and their origin."""
    clips = {"start": study.start, "arm": study.base}
    return {
        "about": study.about,
        "data": config.label,
        "command": config.command,
        **origin_of(rows),
        "seeds": list(range(config.seeds)),
        "clips": {name: _clips_of(run) for name, run in clips.items() if run is not None},
        "arms_s": round(sum(row["cost_s"] for row in rows)),
        "jobs": config.jobs,
    }


def _clips_of(config: PretrainConfig) -> int:
    """Return the number of clips in a run."""
    return config.mae_optim.epochs * config.steps_per_epoch(0) * config.num_envs
