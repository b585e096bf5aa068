"""Compare the features of an encoder before and after pre-training on the demo data.

Pre-trains from several seeds, probes each encoder before, during and after, and writes table, numbers and curves to
benchmarks/results. A stopped study continues by the same command. `make probe-demo` runs it with the defaults.
"""

import logging
import sys

import tyro

from tats_gym.agents.experiments.probe_study import ProbeDemo, probe_demo
from tats_gym.agents.training.command_line import exit_code


def main(config: ProbeDemo) -> None:
    """Do the missing runs, and print the results and their files."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for text in probe_demo(config):
        print(text)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(ProbeDemo, description=__doc__))))
