"""The studies by name, with their arms, settings and lengths; and the command that carries one out."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tats_gym.agents.config import PRESETS, PretrainConfig, preset_for
from tats_gym.agents.experiments.studies.measures import OWN, measure_study
from tats_gym.agents.experiments.studies.report import (
    forwards_by_arm,
    forwards_table,
    study_figure,
    study_table,
    with_headroom_share,
)
from tats_gym.agents.experiments.studies.study import Study, run_study
from tats_gym.agents.experiments.trials.estimates import as_plain, rounded, summarise
from tats_gym.agents.experiments.trials.variations import SHORT_RUN, SHORT_RUN_FORWARDS, Changes
from tats_gym.files.atomic import make_folder
from tats_gym.jobs.parallel import default_jobs
from tats_gym.messages import check_choice
from tats_gym.registration import DEFAULT_ENV
from tats_gym.results import origin_of, results_folder, write_results
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

_SHORT: dict[str, Any] = {"eval_masks": 2, **SHORT_RUN}
_SCRATCH = replace(preset_for(DEFAULT_ENV, "folder"), eval_clips=96, **_SHORT)


def _uniform(clips: int) -> PretrainConfig:
    """Return the settings that train an MAE from scratch under uniform masks, measured half way and at the end."""
    optim = replace(_SCRATCH.mae_optim, epochs=10)
    return replace(_SCRATCH, agent="random", epoch_masks=clips // 10, eval_interval=clips // 2, mae_optim=optim)


_START = _uniform(32_000)
_FROM_SHIPPED = replace(
    PRESETS["demo"], train_mae=False, eval_clips=96, epoch_masks=800, eval_interval=800, **{**_SHORT, "eval_masks": 1}
)
_UNIFORM: Changes = {"agent": "random"}
_WARMER: Changes = {"tats.ent_coef": 1.4}
_TOKEN: Changes = {"tats.credit": "token", "tats.normalize_advantage": False, "tats.ent_coef": 1.0}
"""The paper's credit, with its c3 = c1."""
_TOKEN_COLDER: Changes = {**_TOKEN, "tats.ent_coef": 0.5}
_BY_MASK: Changes = {"tats.normalize_advantage": False, "tats.ent_coef": 1e-3}
"""For one advantage a mask, which its K draws share: it is K times as strong as those of single draws, and smaller."""
_GAMES = preset_for("TatsMask-atari-v0")


def _games(visible: int) -> Study:
    """Return the study of masks on games, with K a multiple of the eight tubelets, so that tube masks can show it."""
    epochs = _GAMES.mae_optim.epochs
    base = replace(
        _GAMES,
        grid=replace(_GAMES.grid, visible=visible),
        epoch_masks=SHORT_RUN_FORWARDS // epochs,
        eval_interval=SHORT_RUN_FORWARDS // 2,
        **_SHORT,
    )
    return Study(
        about="Does the choice of masks help the encoder, where the things that matter are small?",
        start=None,
        base=base,
        arms={
            "random": _UNIFORM,
            "random, 4 masks a clip": {**_UNIFORM, "masks_per_clip": 4},
            "tube": {"agent": "tube"},
            "motion": {"agent": "motion"},
            "expected error": {"agent": "expected_error"},
            "adamae": {"agent": "adamae"},
            "tats, token": {"agent": "tats", **_TOKEN},
            "group, marginal": {},
            "group, joint": {"tats.credit": "joint", **_BY_MASK},
            "untrained": {**_UNIFORM, "train_mae": False, "epoch_masks": base.num_envs, "log_interval": 1},
        },
        control="random",
        measures=("decoded_positions",),
    )


STUDIES: Mapping[str, Study] = {
    "content": Study(
        about="Which credit, temperature and observation let a sampler follow each clip's content, and how soon?",
        start=None,
        base=_FROM_SHIPPED,
        arms={
            "marginal, place": {},
            "marginal, token": {"tats.reach": "token"},
            "marginal, neighbours": {"tats.reach": "neighbours"},
            "marginal, clip": {"tats.reach": "clip"},
            "warmer": _WARMER,
            "colder": {"tats.ent_coef": 0.35},
            "positions of deviation 2": {"sampler.pos_embed_std": 2.0},
            "positions of deviation .1": {"sampler.pos_embed_std": 0.1},
            "differences": {"sampler.differences": True},
            "value network": {"agent": "tats"},
            "token": _TOKEN,
            "token, colder": _TOKEN_COLDER,
            "token, value network": {"agent": "tats", **_TOKEN},
            "joint": {"tats.credit": "joint", **_BY_MASK},
            "joint, value network, gain": {"agent": "tats", "tats.credit": "joint", "reward": "gain", **_BY_MASK},
            "adamae": {"agent": "adamae"},
            "uniform": _UNIFORM,
            **{
                f"{name}, with the MAE": {"train_mae": True, **changes}
                for name, changes in {
                    "marginal, place": {},
                    "warmer": _WARMER,
                    "token": _TOKEN,
                    "token, colder": _TOKEN_COLDER,
                    "uniform": _UNIFORM,
                }.items()
            },
        },
        measures=("hand_masks", "gradients_at_uniform"),
        target_gain=0.01,
    ),
    "decoder": Study(
        about="What does an MAE learn that decodes a part of the hidden tokens, and what is left of the rewards?",
        start=None,
        base=_START,
        arms={"all decoded": {}, "half decoded": {"decode_ratio": 0.5}, "quarter decoded": {"decode_ratio": 0.25}},
        control="all decoded",
        measures=("decoded_in_part",),
    ),
    "games-05": _games(visible=24),
    "games-10": _games(visible=48),
}
"""c1 is 1. The first arm of "content" has the demo's settings; only the arms "..., with the MAE" train the MAE too. In
the studies of games, of which 5 and 10 % of the 512 tokens are visible, "random, 4 masks a clip" sees as few clips as
the groups do, and "expected error" is the oracle."""

if TYPE_CHECKING:
    StudyName = str
else:
    StudyName = Literal[tuple(STUDIES)]
    """The type of settings that name a study: the command line offers these choices."""


@dataclass(frozen=True)
class StudyConfig:
    """A study, its data, arms and seeds, and where its results go."""

    name: Annotated[StudyName, tyro.conf.Positional]
    """Name of the study; see agents/experiments/studies/named.py."""
    root: str | None = None
    """A folder of videos to use instead of the study's; for those of games a recording of some of them."""
    label: str | None = None
    """Name of the data, for the names of the runs and results; None takes the folder's, or the dataset's."""
    arms: tuple[str, ...] = ()
    """Run only these arms; all if none is named."""
    seeds: int = 5
    """Every arm is run with the seeds 0, 1, ..."""
    jobs: int = field(default_factory=default_jobs)
    """Parallel runs; each takes its share of the cores."""
    out: Path = Path("runs/studies")
    """Folder of the runs; a stopped study resumes there."""
    results: Path = field(default_factory=results_folder)
    """Folder of numbers and picture."""

    def __post_init__(self) -> None:
        check_choice("name", self.name, tuple(STUDIES))
        check_plain(self)
        check_intervals(self, seeds="[1, inf)", jobs="[1, inf)")

    @property
    def command(self) -> str:
        """The command line of these numbers, without the folders of data and runs."""
        words = ["tats-gym", "study", self.name, "--seeds", str(self.seeds)]
        words += ["--root", "FOLDER"] if self.root else []
        words += ["--label", self.data] if self.root or self.label else []
        words += ["--arms", *self.arms] if self.arms else []
        return shlex.join(words)

    @property
    def data(self) -> str:
        """Name of the data: runs on other data lie elsewhere."""
        return self.label or (Path(self.root).absolute().name if self.root else STUDIES[self.name].base.clips.data)

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
    """Return the study on other videos: a folder of them, or for a study of games a recording.

    An MAE is trained there in place of the demo's shipped one.
    """
    if study.base.init_mae is not None:
        study = replace(study, start=_START, base=replace(study.base, init_mae=None))
    data = "atari" if study.base.clips.data == "atari" else "folder"  # in a folder no clip has coordinates

    def moved(config: PretrainConfig) -> PretrainConfig:
        return replace(config, env=f"TatsMask-{data}-v0", clips=replace(config.clips, data=data, root=root))

    return replace(study, start=study.start and moved(study.start), base=moved(study.base))


def report_study(config: StudyConfig) -> Iterator[str]:
    """Run the missing trials of a study and write the results; yield the tables, and where the results lie.

    Raises:
        ValueError: If an arm is unknown, see `StudyConfig.study`.
        StoppedError: If a run was stopped; the next call resumes it.
    """
    make_folder(config.results)  # before hours of work
    study, seeds = config.study, range(config.seeds)
    folder, starts = (config.out / f"{name}-{config.data}" for name in (config.name, "start"))
    rows = run_study(study, folder, starts, seeds, jobs=config.jobs)
    measures = {name: measure_study(name, study, folder, starts, seeds, jobs=config.jobs) for name in study.measures}
    if searched := {row["seed"]: row["gain"] for row in measures.get("hand_masks", ()) if row["arm"] == OWN}:
        rows = with_headroom_share(rows, searched)
    summary = summarise(rows, control=study.control)
    yield study_table(summary)
    record = {**_about(config, study, rows), "arms": as_plain(summary)}
    if study.target_gain is not None:
        forwards = forwards_by_arm(rows, study.target_gain)
        yield f"\n{forwards_table(forwards, study.target_gain)}"
        record["forwards_to"] = {"gain": study.target_gain, "arms": forwards}
    for name, rows_of_measure in measures.items():
        compared = study.control in {row["arm"] for row in rows_of_measure}
        by_arm = summarise(rows_of_measure, control=study.control if compared else None)
        yield f"\n{name}\n{study_table(by_arm)}"
        record[name] = as_plain(by_arm)
        record[f"{name}_rows"] = rounded(rows_of_measure)
    picture = study_figure(rows, study.base.grid.shape, f"{config.name}, {config.data}: {config.seeds} seeds")
    yield write_results(config.results / f"study_{config.name}_{config.data}", record, picture)


def _about(config: StudyConfig, study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe the numbers and their origin."""
    clips = {"start": study.start, "arm": study.base}
    return {
        "about": study.about,
        "data": config.data,
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
