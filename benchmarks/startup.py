"""CPU seconds until `train_ppo.py` answers, beside those of importing Stable-Baselines3."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import origin, write
from tats_gym.runs.results import aligned

logger = logging.getLogger(__name__)

SCRIPT = "scripts/train_ppo.py"
REFERENCE = "import stable_baselines3"
STARTS = {
    REFERENCE: ("-c", REFERENCE),
    "import tats_gym": ("-c", "import tats_gym"),
    "train_ppo.py --help": (SCRIPT, "--help"),
    "train_ppo.py --num-env 4": (SCRIPT, "--num-env", "4"),
    "train_ppo.py --agent tatts": (SCRIPT, "--agent", "tatts"),
}
"""Each with the words that Python is given; the last two are mistyped."""


@dataclass(frozen=True, kw_only=True)
class StartupConfig:
    """How often each start is measured."""

    rounds: int = 5
    """Times that each start is measured, in turn with the others; its least counts."""
    results: Path = Path("benchmarks/results")
    """Where the record goes."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")


def run(config: StartupConfig) -> None:
    """Measure, print and write."""
    record: dict[str, Any] = {"about": "CPU seconds (user and system) of a process, the least of all rounds"}
    record |= origin("startup", config)
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    for number in range(config.rounds):
        for name, words in STARTS.items():
            seconds[name].append(cpu_seconds(words))
        logger.info("round %d of %d", number + 1, config.rounds)
    record["starts"] = compared(seconds)
    print("\n".join(report(record["starts"])))
    print(f"\nrecord: {write(config.results, 'startup', record)}")


def cpu_seconds(words: tuple[str, ...]) -> float:
    """Run Python with these words, drop its output, and return the user and system seconds that it took."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def compared(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return for each start its least seconds, their ratio to the reference's, and the seconds of all rounds."""
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
