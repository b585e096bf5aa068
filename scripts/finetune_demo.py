"""Fine-tune on the demo's twelve motions, from a pre-trained encoder and from scratch, and draw both curves.

Makes the data, pre-trains, fine-tunes twice with the same settings, and writes numbers and picture to
benchmarks/results. What was stopped goes on where it was. `make finetune-demo` runs it as it stands.
"""

import json
import logging
import os
import shlex
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import matplotlib.image
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

from tats_gym.agents.experiments.finetune_study import demo_study, finetune_figure, run_finetune_study
from tats_gym.agents.training.command_line import exit_code
from tats_gym.clips.demo.files import DEMO_CLASSES, demo_data_of
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.runs.folder import origin
from tats_gym.runs.parallel_jobs import default_jobs


@dataclass(frozen=True, kw_only=True)
class FinetuneDemo:
    """How much to train."""

    train: int = 4000
    """Training clips, of both trainings."""
    test: int = 600
    """Clips on which the classifiers are measured."""
    agent: str = "random"
    """Who makes the masks of the pre-training, e.g. tats."""
    pretrain_epochs: int = 20
    """Passes of the pre-training."""
    epochs: int = 60
    """Passes of each fine-tuning."""
    seed: int = 0
    """Of everything."""
    jobs: int = field(default_factory=default_jobs)
    """Fine-tunings side by side, at most two, each with its share of the cores and 4 GiB of memory."""
    out: Path = Path("runs/finetune-demo")
    """Where the runs lie; what was stopped goes on from there."""
    results: Path = Path("benchmarks/results")
    """Where numbers and picture go."""


def main(config: FinetuneDemo) -> None:
    """Make the data, run what is missing, print, draw and write."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make_folder(config.results)  # before hours of work
    root = demo_data_of(config.train, config.test)
    study = demo_study(root, pretrain_epochs=config.pretrain_epochs, epochs=config.epochs, agent=config.agent)
    study = replace(
        study,
        pretraining=replace(study.pretraining, seed=config.seed),
        finetuning=replace(study.finetuning, seed=config.seed),
    )
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))  # the pre-training's clips come from another process
    outcomes = run_finetune_study(study, config.out, jobs=min(2, config.jobs))
    for arm, outcome in outcomes.items():
        test = outcome["test"]
        low, high = test["top1_interval"]
        print(f"{arm:>12}: top-1 {test['top1']:.1%} [{low:.1%}, {high:.1%}] of {test['videos']} clips")
    path = config.results / "finetune_demo"
    record = {
        "about": "Top-1 on the demo's held-out clips while an encoder is fine-tuned, pre-trained and from scratch",
        "command": command(config),
        **origin(),
        "outcomes": outcomes,
    }
    write_whole(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    title = f"fine-tuning on the demo's {len(DEMO_CLASSES)} motions, seed {config.seed}"
    picture = finetune_figure(outcomes, 1 / len(DEMO_CLASSES), title)
    matplotlib.image.imsave(path.with_suffix(".png"), picture)
    print(f"numbers: {path}.json\npicture: {path}.png")


def command(config: FinetuneDemo) -> str:
    """Return the command line that asks for the same numbers, wherever the runs lie."""
    words = ["python", "scripts/finetune_demo.py"]
    for setting in fields(config):
        value = getattr(config, setting.name)
        if setting.name not in ("jobs", "out", "results") and value != setting.default:
            words += [f"--{setting.name.replace('_', '-')}", str(value)]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(FinetuneDemo, description=__doc__))))
