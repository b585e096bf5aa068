"""Check that the class of a demo video cannot be told from a single frame, and can be told from its motion.

Trains the same small network twice on freshly rendered clips, once on single frames taken at random times and once on
the differences between eight frames in order. Writes both accuracies on unseen clips as JSON, with 95 % Wilson
intervals.
"""

import shlex
import sys

import tyro

from tats_gym.agents.training.command_line import exit_code
from tats_gym.clips.demo.single_frame import CheckConfig, check


def main(config: CheckConfig) -> None:
    """Run the check, and print the accuracies."""
    for line in check(config, shlex.join(["python", *sys.argv])):
        print(line)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(CheckConfig, description=__doc__)), "give the same command again"))
