"""Ask whether pre-training on the demo data gives better features than the same encoder untrained has.

Pre-trains from several seeds, probes each before, during and after, and writes table, numbers and curves to
benchmarks/results. A study that was stopped goes on where it was. `make probe-demo` runs it as it stands.
"""

import json
import logging
import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import matplotlib.image
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

from tats_gym.agents.experiments.probe_report import as_table, compare, probe_figure
from tats_gym.agents.experiments.probe_study import DEMO_TEST, DEMO_TRAIN, demo_study, run_probe_study, settings_of
from tats_gym.agents.training.command_line import exit_code
from tats_gym.clips.demo.files import demo_data_of
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.runs.folder import origin
from tats_gym.runs.parallel_jobs import default_jobs


@dataclass(frozen=True, kw_only=True)
class ProbeDemo:
    """How much to train and to probe."""

    seeds: int = 3
    """The seeds 0, 1, ..."""
    agents: tuple[str, ...] = ("random",)
    """Who makes the masks of the pre-training, e.g. random tats."""
    epochs: int = 40
    """Of the pre-training; a multiple of points."""
    epoch_clips: int = 2400
    """Clips in one of them."""
    points: int = 5
    """Times at which each is probed, besides the start."""
    train: int = DEMO_TRAIN
    """Clips to pre-train on, and to fit the probes to."""
    test: int = DEMO_TEST
    """Clips on which the probes are measured."""
    jobs: int = field(default_factory=default_jobs)
    """Runs side by side, each with its share of the cores and 4 GiB of memory."""
    out: Path = Path("runs/probe-demo")
    """Where the runs lie; a study that was stopped goes on from there."""
    results: Path = Path("benchmarks/results")
    """Where table, numbers and curves go."""


def main(config: ProbeDemo) -> None:
    """Make the data, run what is missing, then estimate, print, draw and write."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make_folder(config.results)  # before hours of work
    data = demo_data_of(config.train, config.test)
    study = demo_study(data, epochs=config.epochs, epoch_clips=config.epoch_clips, points=config.points)
    study = replace(study, agents=config.agents)
    rows = run_probe_study(study, config.out, range(config.seeds), jobs=config.jobs)
    found = compare(rows)
    table = as_table(found, rows[0]["chance"])
    print(table)
    path = config.results / "probe_demo"
    now = origin()
    record = {
        "about": "Top-1 of probes on the demo's held-out clips, pre-trained minus the same weights untrained",
        "command": command(config),
        **now,
        "commits": sorted({row["commit"] for row in rows} | {now["commit"]}, key=str),
        "seeds": list(range(config.seeds)),
        "pretraining_s": sorted({(row["agent"], row["seed"], row["pretraining_s"]) for row in rows}),
        "table": table.splitlines(),
        "compared": [
            {**kind._asdict(), **{name: asdict(each) for name, each in pair._asdict().items()}}
            for kind, pair in found.items()
        ],
        "settings": settings_of(study),
        "rows": rows,
    }
    write_whole(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    title = f"probes of the demo's encoder by pre-training, {config.seeds} seeds; dotted: chance"
    matplotlib.image.imsave(path.with_suffix(".png"), probe_figure(rows, title))
    print(f"numbers: {path}.json\npicture: {path}.png")


def command(config: ProbeDemo) -> str:
    """Return the command line that asks for the same numbers, wherever the runs lie."""
    words = ["python", "scripts/probe_demo.py"]
    for name in ("seeds", "agents", "epochs", "epoch_clips", "points", "train", "test"):
        value = getattr(config, name)
        if value != getattr(ProbeDemo, name):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(ProbeDemo, description=__doc__))))
