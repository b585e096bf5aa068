"""Fine-tune on the demo's twelve motions, from a pre-trained encoder and from scratch, and draw both curves.

Makes the data, pre-trains, fine-tunes twice with the same settings, and writes numbers and picture to
benchmarks/results. A stopped study continues by the same command. `make finetune-demo` runs it with the defaults.
"""

import logging
import sys

import tyro

from tats_gym.agents.experiments.finetune_study import FinetuneDemo, finetune_demo
from tats_gym.agents.training.command_line import exit_code


def main(config: FinetuneDemo) -> None:
    """Do the missing runs, and print the results and their files."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for text in finetune_demo(config):
        print(text)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(FinetuneDemo, description=__doc__))))
