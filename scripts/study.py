"""Run a study, several arms with several seeds: python scripts/study.py frozen.

A study that was stopped goes on where it was. Its numbers and its picture go to benchmarks/results.
"""

import logging
import sys

import tyro

from tats_gym.agents.experiments.studies import StudyConfig, carry_out
from tats_gym.agents.training.command_line import exit_code


def main(config: StudyConfig) -> None:
    """Run the missing cells, and print the results and where they lie."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for text in carry_out(config):
        print(text)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(StudyConfig, description=__doc__))))
