"""Write one HTML page about runs: tats-gym report RUN [RUN ...].

The page holds results, curves, pictures, settings and the commands that repeat the runs. It needs no server, network or
other file.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from tats_gym.agents.experiments.run_report.page import report
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.runs.kinds import refuse_to_replace


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The runs, and the page about them."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, finished or not."""
    out: Path = Path("report.html")
    """File of the page; an existing page is replaced."""


def main(words: list[str], program: str = "tats-gym report") -> int:
    """Parse, write the page, and print its path."""
    return exit_code(lambda: _write(words, program), "give the same command again")


def _write(words: list[str], program: str) -> None:
    config = CommandLine(words, program, __doc__).settings(ReportConfig)
    if not config.runs:
        raise ValueError(
            "runs must name at least one run's folder, got none; e.g. tats-gym report runs/demo-tats-seed0-1"
        )
    refuse_to_replace(config.out, "--out", b"<!DOCTYPE html>")
    page = report(config.runs)
    make_folder(config.out.parent)
    write_whole(config.out, page)
    print(f"report: {config.out} ({config.out.stat().st_size / 2**20:.1f} MiB)")
