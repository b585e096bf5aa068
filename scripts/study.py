"""Run a study, several arms with several seeds: python scripts/study.py frozen.

A study that was stopped goes on where it was. Its numbers and its picture go to benchmarks/results.
"""

import json
import logging
import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import matplotlib.image
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.measures import measured
from tats_gym.agents.experiments.studies import STUDIES
from tats_gym.agents.experiments.study import Study, run_study
from tats_gym.agents.experiments.study_report import as_plain, as_table, race, race_table, study_figure, summarise
from tats_gym.agents.training.command_line import exit_code
from tats_gym.files.atomic import make_folder
from tats_gym.runs.folder import origin
from tats_gym.runs.parallel_jobs import default_jobs


@dataclass(frozen=True)
class StudyConfig:
    """What to run, and where."""

    name: Annotated[Literal["frozen", "group", "critic", "joint", "decoder"], tyro.conf.Positional]
    """Which study; see agents/experiments/studies.py."""
    root: str | None = None
    """A folder of videos to use instead of the demo data."""
    label: str = "demo"
    """Name of the data, for the names of the results."""
    arms: tuple[str, ...] = ()
    """Run only these arms; all where none is named."""
    seeds: int = 5
    """Every arm is run with the seeds 0, 1, ..."""
    jobs: int = field(default_factory=default_jobs)
    """Runs side by side; each takes its share of the cores."""
    out: Path = Path("runs/studies")
    """Where the runs lie; a study that was stopped goes on from there."""
    results: Path = Path("benchmarks/results")
    """Where the numbers and the picture go."""


def main(config: StudyConfig) -> None:
    """Run what is missing, then estimate, print, draw and write."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make_folder(config.results)  # before hours of work
    study = chosen_study(config)
    seeds = range(config.seeds)
    folder, starts = (config.out / f"{name}-{config.label}" for name in (config.name, "start"))
    rows = run_study(study, folder, starts, seeds, jobs=config.jobs)
    summary = summarise(rows, control=study.control)
    print(as_table(summary))
    record = {**about(config, study, rows), "arms": as_plain(summary)}
    if study.race_to is not None:
        raced = race(rows, study.race_to)
        print(f"\n{race_table(raced, study.race_to)}")
        record["forwards_to"] = {"gain": study.race_to, "arms": raced}
    for name in study.measures:
        found = summarise(measured(name, study, folder, starts, seeds, jobs=config.jobs))
        print(f"\n{name}\n{as_table(found)}")
        record[name] = as_plain(found)
    path = config.results / f"study_{config.name}_{config.label}"
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    picture = study_figure(rows, study.base.grid.shape, f"{config.name}, {config.label}: {config.seeds} seeds")
    matplotlib.image.imsave(path.with_suffix(".png"), picture)
    print(f"numbers: {path}.json\npicture: {path}.png")


def about(config: StudyConfig, study: Study, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Say what the numbers are, and where they come from."""
    now = origin()
    return {
        "about": study.about,
        "data": config.label,
        "command": command(config),
        **now,
        "commits": sorted({row["commit"] for row in rows} | {now["commit"]}, key=str),
        "seeds": list(range(config.seeds)),
        "clips": {
            name: clips_of(run) for name, run in (("start", study.start), ("arm", study.base)) if run is not None
        },
        "arms_s": round(sum(row["cost_s"] for row in rows)),
        "jobs": config.jobs,
    }


def command(config: StudyConfig) -> str:
    """Return the command line that asks for the same numbers, wherever the data and the runs lie."""
    words = ["python", "scripts/study.py", config.name, "--seeds", str(config.seeds)]
    words += ["--root", "FOLDER", "--label", config.label] if config.root else []
    words += ["--arms", *config.arms] if config.arms else []
    return shlex.join(words)


def chosen_study(config: StudyConfig) -> Study:
    """Return the study that was asked for, with the arms and on the data that were asked for."""
    study = STUDIES[config.name]
    if config.root:
        study = on_folder(study, config.root)
    if unknown := set(config.arms) - set(study.arms):
        raise ValueError(f"the study {config.name} has no arm {sorted(unknown)}; it has {list(study.arms)}")
    if config.arms and study.control not in (None, *config.arms):
        raise ValueError(f"the study {config.name} compares with the arm {study.control!r}; name it among --arms too")
    return replace(study, arms={arm: study.arms[arm] for arm in config.arms or study.arms})


def on_folder(study: Study, root: str) -> Study:
    """Return the study on a folder of videos."""

    def moved(config: PretrainConfig) -> PretrainConfig:
        return replace(config, env="TatsMask-folder-v0", clips=replace(config.clips, data="folder", root=root))

    return replace(study, start=study.start and moved(study.start), base=moved(study.base))


def clips_of(config: PretrainConfig) -> int:
    """Return the clips that a run takes."""
    return config.mae_optim.epochs * config.steps_per_epoch(0) * config.num_envs


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(StudyConfig, description=__doc__))))
