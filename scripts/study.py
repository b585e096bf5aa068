"""Run a study, several arms with several seeds each: python scripts/study.py content.

Writes numbers and a picture to benchmarks/results. A stopped study continues by the same command.
"""

import logging
import sys

import tyro

from tats_gym.agents.experiments.studies import StudyConfig, report_study
from tats_gym.agents.training.command_line import exit_code


def main(config: StudyConfig) -> None:
    """Do the missing runs, and print the results and their files."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for text in report_study(config):
        print(text)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(StudyConfig, description=__doc__))))
