"""Measures the benefit of pre-training: the same encoder fine-tuned with pre-trained and with new weights."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.experiments.finetune.report import finetune_figure
from tats_gym.agents.experiments.trials.trial import Trial, latest_run, run_trials
from tats_gym.clips import ClipConfig
from tats_gym.clips.demo.files import demo_data_of
from tats_gym.clips.demo.scenes import DEMO_CLASSES
from tats_gym.files.atomic import make_folder
from tats_gym.finetune.config import FinetuneConfig, finetune_preset
from tats_gym.finetune.resume import resume, run_config
from tats_gym.finetune.run import Finetuning
from tats_gym.jobs.parallel import default_jobs, side_by_side
from tats_gym.provenance import origin
from tats_gym.registration import DEFAULT_ENV
from tats_gym.results import command_of, results_folder, write_results
from tats_gym.runs.metrics import read_metrics
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import SEEDS, check_intervals
from tats_gym.tokens import TokenGrid
from tats_gym.train.distributed import Ranks
from tats_gym.train.precision import resolve_device
from tats_gym.train.signals import StoppedError

ARMS = {"pre-trained": False, "from scratch": True}
"""Name of each arm to whether its weights are initialised anew."""


@dataclass(frozen=True, kw_only=True)
class FinetuneStudy:
    """One pre-training, and the fine-tuning that both arms share."""

    pretraining: PretrainConfig
    finetuning: FinetuneConfig


def demo_finetune_study(root: Path, *, pretrain_epochs: int, epochs: int, agent: str) -> FinetuneStudy:
    """Return the study of the demo's twelve motions: whole videos of 32 pixels, in finer tokens than the preset's.

    Tokens are 8 pixels wide, and 60 % are hidden: with 80 % hidden, the MAE of these 128 tokens does not learn in its
    first 15,000 clips. The head keeps the order of frames, which the mean over tokens loses.

    Args:
        root: Folder of a demo set.
        pretrain_epochs: Passes of the pre-training over its training clips.
        epochs: Passes of each fine-tuning.
        agent: Chooses the masks of the pre-training.
    """
    clips = ClipConfig(
        data="demo", root=str(root), sampling="segments", crop="random_resized", crop_scale=0.7, cache_windows=3
    )
    preset = preset_for(DEFAULT_ENV, "folder")
    pretraining = replace(
        preset,
        agent=agent,
        clips=replace(clips, num_workers=1),
        grid=TokenGrid(size=32, patch_size=8, mask_ratio=0.6),
        mae=replace(preset.mae, depth=4),
        mae_optim=replace(preset.mae_optim, epochs=pretrain_epochs, warmup_epochs=_warm_up(pretrain_epochs)),
        tats=replace(preset.tats, warmup_epochs=min(preset.tats.warmup_epochs, pretrain_epochs - 1)),
        epoch_masks=None,
        eval_interval=None,
    )
    recipe = finetune_preset(DEFAULT_ENV, "")
    finetuning = replace(
        recipe,
        pool="frames",
        batch_size=32,
        eval_interval=1,
        clips=clips,
        optim=replace(recipe.optim, epochs=epochs, warmup_epochs=_warm_up(epochs), base_lr=0.004),
    )
    return FinetuneStudy(pretraining=pretraining, finetuning=finetuning)


def _warm_up(epochs: int) -> int:
    return min(1, epochs - 1)


def run_finetune_study(study: FinetuneStudy, folder: Path, *, jobs: int) -> dict[str, dict[str, Any]]:
    """Pre-train, then fine-tune both arms, `jobs` at a time; return each arm's curve and test.

    A stopped study resumes.

    Args:
        study: Settings of pre-training and fine-tuning.
        folder: Holds a folder for the pre-training and one for each arm.
        jobs: Parallel processes; each takes its share of the cores.
    """
    first = Trial(study.pretraining, folder / "pretraining")
    run_trials([first], jobs=1)
    encoder = str(latest_run(first.folder))
    arms = {
        _arm_folder(folder, arm): replace(study.finetuning, encoder=encoder, scratch=scratch)
        for arm, scratch in ARMS.items()
    }
    for _ in side_by_side(finetune_arm, list(arms.items()), jobs=jobs):
        pass
    return {arm: _outcome(_arm_folder(folder, arm)) for arm in ARMS}


def _arm_folder(folder: Path, arm: str) -> Path:
    return folder / arm.replace(" ", "-")


def finetune_arm(work: tuple[Path, FinetuneConfig]) -> None:
    """Fine-tune one arm in its folder, or resume it there.

    Raises:
        StoppedError: If the run was stopped; the next call resumes it.
    """
    folder, config = work
    alone = Ranks(0, 1, resolve_device(config.device))
    config = replace(config, out=str(folder), quiet=True)
    try:
        run = resume(latest_run(folder), config, alone)
    except FileNotFoundError:
        run = Finetuning(config, alone)
    try:
        if (run.folder / "test.json").is_file():
            return
        result = run.run()
        if result.accuracy is None:
            raise StoppedError(f"{folder} was stopped; run the study again to go on", result.exit_code)
    finally:
        run.close()


def _outcome(folder: Path) -> dict[str, Any]:
    """Return the test of an arm, and its curve: (clips, held-out top-1) of each epoch."""
    run = latest_run(folder)
    step_clips = run_config(run).step_clips
    lines = read_metrics(run)
    measured = [line for line in lines if "held_out/top1" in line]
    curve = [(line["step"] * step_clips, line["held_out/top1"]) for line in measured]
    return {"curve": curve, "test": json.loads((run / "test.json").read_text())}


@dataclass(frozen=True, kw_only=True)
class FinetuneDemo:
    """Data, lengths and folders of the study."""

    train: int = 4000
    """Training clips, of both trainings."""
    test: int = 600
    """Clips on which the classifiers are measured."""
    agent: str = "random"
    """Agent of the pre-training, e.g. tats."""
    pretrain_epochs: int = 20
    """Passes of the pre-training."""
    epochs: int = 60
    """Passes of each fine-tuning."""
    seed: int = 0
    """Seed of all trainings."""
    jobs: int = field(default_factory=default_jobs)
    """Parallel fine-tunings, at most two; each takes its share of the cores and 4 GiB of memory."""
    out: Path = Path("runs/finetune-demo")
    """Folder of the runs; stopped ones resume there."""
    results: Path = field(default_factory=results_folder)
    """Folder of numbers and picture."""

    def __post_init__(self) -> None:
        check_plain(self)
        for name in ("train", "test", "pretrain_epochs", "epochs", "jobs"):
            check_intervals(self, **{name: "[1, inf)"})
        check_intervals(self, seed=SEEDS)


def finetune_demo(config: FinetuneDemo) -> Iterator[str]:
    """Make the demo data, run the missing arms and write the results; yield a line an arm, and where the results lie.

    Raises:
        StoppedError: If a run was stopped; the next call resumes it.
    """
    make_folder(config.results)  # before hours of work
    root = demo_data_of(config.train, config.test)
    study = demo_finetune_study(root, pretrain_epochs=config.pretrain_epochs, epochs=config.epochs, agent=config.agent)
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
        yield f"{arm:>12}: top-1 {test['top1']:.1%} [{low:.1%}, {high:.1%}] of {test['videos']} clips"
    record = {
        "about": "Top-1 on the demo's held-out clips while an encoder is fine-tuned, pre-trained and from scratch",
        "command": command_of("tats-gym finetune-demo", config),
        **origin(),
        "outcomes": outcomes,
    }
    title = f"fine-tuning on the demo's {len(DEMO_CLASSES)} motions, seed {config.seed}"
    picture = finetune_figure(outcomes, 1 / len(DEMO_CLASSES), title)
    yield write_results(config.results / "finetune_demo", record, picture)
