"""Measure this project's speed beside that of its peers: tats-gym benchmark NAME."""

from importlib import import_module
from typing import Any, get_type_hints

from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.menu import chosen
from tats_gym.commands.line.parsing import CommandLine, show_log
from tats_gym.files.atomic import make_folder

ABOUT = """Measure this project's speed beside that of its peers.

Prints a table, and writes the numbers to --results with command, commit, date and machine."""

COMMANDS = {
    "data": "readers, our loader and a loader like the published VideoMAE's, in clips a second",
    "step": "seconds a clip of our joint step, its parts and the peers' steps",
    "growth": "time and memory of the joint step as batch, frames and size grow",
    "frozen": "masks a CPU second of the environment without video, beside its MAE's forward and the plain one",
    "startup": "CPU seconds until `tats-gym train` answers, beside those of importing Stable-Baselines3",
}
"""Name of a benchmark, which is that of its module, to its line of the help."""


def main(words: list[str], program: str = "tats-gym benchmark") -> int:
    """Parse, and run the chosen benchmark."""
    name, rest = chosen(words, program, ABOUT, COMMANDS)
    show_log(words, times=True)

    def run() -> None:
        measure = import_module(f"tats_gym.benchmarks.{name}").run
        line = CommandLine(rest, f"{program} {name}", measure.__doc__)
        config: Any = line.settings(get_type_hints(measure)["config"])
        make_folder(config.results)  # before minutes of work
        measure(config)

    return exit_code(run, "give the same command again")
