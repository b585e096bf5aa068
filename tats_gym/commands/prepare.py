"""Verify a dataset before training on it, or write its lists: tats-gym prepare verify|list --env ID."""

import sys

from tats_gym.clips.prepare.settings import Export, Verify
from tats_gym.clips.prepare.verify import Verification
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.menu import chosen
from tats_gym.commands.line.parsing import ENV_HELP, CommandLine, show_log
from tats_gym.datasets import Split

ABOUT = "Verify a dataset before training on it, or write its lists."
VERIFY = """Open every video and decode one window of it, in parallel and with a time limit, and write an index.

Training reads the index instead of the folder: it skips broken videos and starts quickly. The same command continues
after a stop.

    tats-gym prepare verify --env TatsMask-ssv2-v0 --root /data/ssv2"""
LIST = """Write the `path label` lines that VideoMAE and its descendants read, and TatsMask-list-v0 too.

    tats-gym prepare list --env TatsMask-ssv2-v0 --root /data/ssv2 --out train.csv"""
COMMANDS = {
    "verify": "open every video, decode one window of each, and write the index and a report",
    "list": "write a split as a list of `path label` lines with absolute paths",
}


def main(words: list[str], program: str = "tats-gym prepare") -> int:
    """Parse, verify or list, and print the report."""
    name, rest = chosen(words, program, ABOUT, COMMANDS)
    show_log(words)
    work = {"verify": _verify, "list": _list}[name]
    return exit_code(lambda: work(rest, f"{program} {name}"), "the same command goes on from here")


def _list(words: list[str], program: str) -> int:
    command = CommandLine(words, program, f"{LIST}\n\n{ENV_HELP}").settings(Export)
    videos = command.write()
    print(f"{len(videos):,} videos of {len(videos.classes)} classes in {command.out}")
    return 0


def _verify(words: list[str], program: str) -> int:
    command = CommandLine(words, program, f"{VERIFY}\n\n{ENV_HELP}").settings(Verify)
    return max(_verify_split(command, split) for split in command.split)


def _verify_split(command: Verify, split: Split) -> int:
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
