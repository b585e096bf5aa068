"""Verify a dataset before training on it, or export its lists.

verify opens every video and decodes one window of it, in parallel and with a time limit, and writes an index. Training
reads the index instead of the folder: it skips broken videos and starts quickly. The same command continues after a
stop.

    python scripts/prepare_data.py verify --env TatsMask-ssv2-v0 --root /data/ssv2

list writes the `path label` lines that VideoMAE and its descendants read, and TatsMask-list-v0 too.

    python scripts/prepare_data.py list --env TatsMask-ssv2-v0 --root /data/ssv2 --out train.csv
"""

import logging
import sys
from typing import Annotated

import tyro

from tats_gym.agents.training.command_line import exit_code
from tats_gym.clips.prepare.settings import Export, Verify
from tats_gym.clips.prepare.verify import Verification
from tats_gym.datasets import Split

Command = Annotated[Verify, tyro.conf.subcommand("verify")] | Annotated[Export, tyro.conf.subcommand("list")]


def main(arguments: list[str]) -> int:
    """Parse, verify or export, and print the report."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return exit_code(lambda: _run(arguments), "the same command goes on from here")


def _run(arguments: list[str]) -> int:
    command: Verify | Export = tyro.cli(Command, args=arguments, prog="prepare_data.py", description=__doc__)
    if isinstance(command, Export):
        videos = command.write()
        print(f"{len(videos):,} videos of {len(videos.classes)} classes in {command.out}")
        return 0
    return max(_verify(command, split) for split in command.split)


def _verify(command: Verify, split: Split) -> int:
    """Verify one split and print the report; return 1 if it has no usable video."""
    verification = Verification(command.config(split))
    if verification.resumed:
        print(f"{split}: going on after the {verification.resumed:,} videos of an earlier run")
    report = verification.run()
    print(*report.lines(), sep="\n")
    if report.usable:
        return 0
    print(f"error: no video of {split} is usable", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
