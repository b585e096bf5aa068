"""Draw an agent's masks of videos and the MAE's reconstruction: tats-gym visualize RUN.

Rows as in the TATS paper's supplement, figures 1 to 12: frames, reconstruction, error, sampling probability, visible
tokens; then error and visible tokens of each run after --compare. All errors are of RUN's MAE, so they compare; each
agent observes the tokens of its own run's MAE. All pictures of one call share their colour scales.
"""

import logging

from tats_gym.agents.trained.pictures import PictureConfig, draw
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine


def main(words: list[str], program: str = "tats-gym visualize") -> int:
    """Parse, draw, and print the paths and the errors."""
    logging.basicConfig(format="%(message)s")
    return exit_code(lambda: _draw(words, program), "give the same command again")


def _draw(words: list[str], program: str) -> None:
    for line in draw(CommandLine(words, program, __doc__).settings(PictureConfig)):
        print(line)
