"""Probe frozen encoders: tats-gym probe --encoder runs/demo-group-seed0-1 tiny --env TatsMask-demo-v0.

Fits a classifier to the features of a dataset's training clips and measures its accuracy on held-out clips. An encoder
is a run, an export, a Hugging Face VideoMAE folder, a published .pth file, or a preset's name for untrained weights, as
a baseline. Features are cached, so that another method takes seconds. docs/probe.md explains features and methods.
"""

from tats_gym.agents.experiments.probe.report import record_tables
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import ENV_HELP, CommandLine, show_log
from tats_gym.probe.records import ProbeCommand, line_of, read_records, run_probes


def main(words: list[str], program: str = "tats-gym probe") -> int:
    """Parse, probe, and print the results."""
    show_log(words)
    return exit_code(lambda: _probe(words, program), "the same command goes on with the features that are kept")


def _probe(words: list[str], program: str) -> None:
    command = CommandLine(words, program, f"{__doc__}\n{ENV_HELP}", progress=True).settings(ProbeCommand)
    records = [record for path in command.add for record in read_records(path)]
    for record in run_probes(command, words):
        records.append(record)
        print(line_of(record), flush=True)
    print(f"\n{record_tables(records)}")
