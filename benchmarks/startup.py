"""CPU seconds until `tats-gym train` answers, beside those of importing Stable-Baselines3."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tats_gym.benchmarks.record import benchmark_origin
from tats_gym.results import aligned, results_folder, write_results
from tats_gym.settings.intervals import check_intervals

logger = logging.getLogger(__name__)

PROGRAM = ("-m", "tats_gym")
REFERENCE = "import stable_baselines3"
STARTS = {
    REFERENCE: ("-c", REFERENCE),
    "import tats_gym": ("-c", "import tats_gym"),
    "tats-gym --help": (*PROGRAM, "--help"),
    "tats-gym train --help": (*PROGRAM, "train", "--help"),
    "tats-gym train --num-env 4": (*PROGRAM, "train", "--num-env", "4"),
    "tats-gym train --agent tatts": (*PROGRAM, "train", "--agent", "tatts"),
}
"""Name of each start to Python's arguments; the last two commands are mistyped."""


@dataclass(frozen=True, kw_only=True)
class StartupConfig:
    """Rounds and folder of the measurement."""

    rounds: int = 5
    """Rounds, each of which measures every start in turn; the minimum over rounds counts."""
    results: Path = field(default_factory=results_folder)
    """Folder of the record."""

    def __post_init__(self) -> None:
        check_intervals(self, rounds="[1, inf)")


def run(config: StartupConfig) -> None:
    """CPU seconds until `tats-gym train` answers, beside those of importing Stable-Baselines3."""
    record: dict[str, Any] = {"about": "CPU seconds (user and system) of a process, the least of all rounds"}
    record |= benchmark_origin("startup", config)
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    for number in range(config.rounds):
        for name, words in STARTS.items():
            seconds[name].append(cpu_seconds(words))
        logger.info("round %d of %d", number + 1, config.rounds)
    record["starts"] = compare(seconds)
    print("\n".join(report(record["starts"])))
    print(f"\n{write_results(config.results / 'startup', record)}")


def cpu_seconds(words: tuple[str, ...]) -> float:
    """Run Python with these arguments and return its user and system seconds; its output is dropped."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def compare(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return the minimum of each start, its ratio to the reference's, and the seconds of all rounds."""
    reference = min(seconds[REFERENCE])
    return {
        name: {
            "least_s": round(min(rounds), 3),
            "ratio": round(min(rounds) / reference, 3),
            "rounds_s": [round(value, 3) for value in rounds],
        }
        for name, rounds in seconds.items()
    }


def report(starts: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of a table, a start in each."""
    rows = [[name, f"{start['least_s']:.2f}", f"{start['ratio']:.2f}"] for name, start in starts.items()]
    return aligned([["start", "CPU s", f"to {REFERENCE}"], *rows])
