"""Ask whether pre-training on the demo data gives better features than the same encoder untrained has.

Pre-trains from several seeds, probes each before, during and after, and writes table, numbers and curves to
benchmarks/results. A study that was stopped goes on where it was. `make probe-demo` runs it as it stands.
"""

import logging
import sys

import tyro

from tats_gym.agents.experiments.probe_study import ProbeDemo, probe_demo
from tats_gym.agents.training.command_line import exit_code


def main(config: ProbeDemo) -> None:
    """Run the missing cells, and print the results and where they lie."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for text in probe_demo(config):
        print(text)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(ProbeDemo, description=__doc__))))
