"""Write one HTML page about runs: python scripts/report.py RUN [RUN ...].

The page holds results, curves, pictures, settings and the commands that repeat the runs. It needs no server, network or
other file.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from tats_gym.agents.experiments.run_report import report
from tats_gym.agents.training.command_line import exit_code
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.runs.kinds import refuse_to_replace


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """The runs, and the page about them."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, finished or not."""
    out: Path = Path("report.html")
    """File of the page; an existing page is replaced."""


def main(arguments: list[str]) -> int:
    """Parse, write the page, and print its path."""
    return exit_code(lambda: _write(arguments), "give the same command again")


def _write(arguments: list[str]) -> None:
    config = tyro.cli(ReportConfig, args=arguments, prog="report.py", description=__doc__)
    if not config.runs:
        raise ValueError("name at least one run's folder")
    refuse_to_replace(config.out, "--out", b"<!DOCTYPE html>")
    page = report(config.runs)
    make_folder(config.out.parent)
    write_whole(config.out, page)
    print(f"report: {config.out} ({config.out.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
