"""Fine-tune an encoder on labelled videos: python scripts/finetune.py --encoder RUN --env TatsMask-ssv2-v0."""

import argparse
import logging
import sys
from pathlib import Path

import tyro

from tats_gym.agents.training.command_line import exit_code
from tats_gym.finetune.config import FinetuneConfig, finetune_preset
from tats_gym.finetune.resume import begin_or_resume, resume, run_config
from tats_gym.train.distributed import Ranks, process_group

DESCRIPTION = """Fine-tune an encoder on labelled videos, and test it. On several GPUs: torchrun scripts/finetune.py ...

--resume RUN    continue the run in this folder from its newest checkpoint
--folder DIR    folder of the run; a run in it is continued, so that the same command serves for restarts"""


def main(arguments: list[str]) -> int:
    """Parse, build, train, test, and print the results and their files."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--env")
    first.add_argument("--encoder")
    first.add_argument("--resume", type=Path)
    first.add_argument("--folder", type=Path)
    chosen, rest = first.parse_known_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return exit_code(
        lambda: _run(chosen, rest),
        "go on from the last checkpoint with --resume and the run's folder",
        "--batch-size and --test-batch-size take fewer clips at once; --optim.accumulate makes up for it",
    )


def _run(chosen: argparse.Namespace, rest: list[str]) -> int:
    config = _config(chosen, rest)
    with process_group(config.device) as ranks:
        return _train(chosen, config, ranks)


def _config(chosen: argparse.Namespace, rest: list[str]) -> FinetuneConfig:
    if chosen.resume:
        if chosen.env or chosen.encoder or chosen.folder:
            raise ValueError("--resume goes on with the run's own --env, --encoder and --folder; leave these out")
        return _parse(rest, run_config(chosen.resume))
    asks = {"-h", "--help"} & set(rest)
    if not chosen.encoder and not asks:
        raise ValueError("--encoder must name a run, an export, a checkpoint, or a preset to start from scratch")
    return _parse(rest, finetune_preset(chosen.env or "TatsMask-demo-v0", chosen.encoder or "base"))


def _parse(rest: list[str], default: FinetuneConfig) -> FinetuneConfig:
    return tyro.cli(FinetuneConfig, args=rest, default=default, prog="finetune.py", description=DESCRIPTION)


def _train(chosen: argparse.Namespace, config: FinetuneConfig, ranks: Ranks) -> int:
    run = resume(chosen.resume, config, ranks) if chosen.resume else begin_or_resume(chosen.folder, config, ranks)
    if ranks.first:
        print(f"run folder: {run.folder}\nwatch it:   tensorboard --logdir {run.folder}", flush=True)
    try:
        result = run.run()
    finally:
        run.close()
    if ranks.first:
        print(result.summary(config))
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
