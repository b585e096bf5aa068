"""Measure this project's speed beside that of its peers: python -m benchmarks step, data, growth or startup.

Prints a table, and writes the numbers to benchmarks/results with command, commit, date and machine.
"""

import logging
import sys

import tyro

from benchmarks import data, growth, startup, step
from tats_gym.commands.exit_codes import exit_code


def main(arguments: list[str]) -> None:
    """Parse, and run the chosen benchmark."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    app = tyro.extras.SubcommandApp()
    for benchmark in (data, step, growth, startup):
        app.command(name=benchmark.__name__.rpartition(".")[2])(benchmark.run)
    app.cli(args=arguments, prog="python -m benchmarks", description=__doc__, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "give the same command again"))
