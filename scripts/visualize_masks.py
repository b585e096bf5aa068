"""Draw an agent's masks of videos and the MAE's reconstruction: python scripts/visualize_masks.py RUN.

Rows as in the TATS paper's supplement, figures 1 to 12: frames, reconstruction, error, sampling probability, visible
tokens; then error and visible tokens of each run after --compare. All errors are of RUN's MAE, so they compare; each
agent observes the tokens of its own run's MAE. All pictures of one call share their colour scales.
"""

import logging
import sys

import tyro

from tats_gym.agents.training.command_line import exit_code
from tats_gym.agents.training.pictures import PictureConfig, draw


def main(arguments: list[str]) -> int:
    """Parse, draw, and print the paths and the errors."""
    logging.basicConfig(format="%(message)s")
    return exit_code(lambda: _draw(arguments), "give the same command again")


def _draw(arguments: list[str]) -> None:
    for line in draw(tyro.cli(PictureConfig, args=arguments, prog="visualize_masks.py", description=__doc__)):
        print(line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
