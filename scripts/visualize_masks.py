"""Draw what an agent shows of videos and what the MAE makes of it: python scripts/visualize_masks.py RUN.

Rows as in the TATS paper's supplement, figures 1 to 12: frames, reconstruction, its error, sampling probability,
visible tokens; then error and visible tokens of each agent that it is compared with. All errors are of RUN's MAE; each
agent looks at the clip through its own. Colours mean the same in all pictures of one call.
"""

import logging
import sys

import tyro

from tats_gym.agents.training.command_line import exit_code
from tats_gym.agents.training.pictures import PictureConfig, draw


def main(arguments: list[str]) -> int:
    """Parse, mask, draw, and print the paths and the errors."""
    logging.basicConfig(format="%(message)s")
    return exit_code(lambda: _draw(arguments), "give the same command again")


def _draw(arguments: list[str]) -> None:
    for line in draw(tyro.cli(PictureConfig, args=arguments, prog="visualize_masks.py", description=__doc__)):
        print(line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
