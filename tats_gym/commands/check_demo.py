"""Check that the class of a demo video cannot be told from a single frame, and can be told from its motion.

Trains the same small network twice on freshly rendered clips, once on single frames taken at random times and once on
the differences between eight frames in order. Writes both accuracies on unseen clips as JSON, with 95 % Wilson
intervals.
"""

import shlex

from tats_gym.clips.demo.single_frame import CheckConfig, check
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine


def main(words: list[str], program: str = "tats-gym check-demo") -> int:
    """Parse, run the check, and print the accuracies."""
    return exit_code(lambda: _check(words, program), "give the same command again")


def _check(words: list[str], program: str) -> None:
    config = CommandLine(words, program, __doc__).settings(CheckConfig)
    for text in check(config, shlex.join(["tats-gym", "check-demo", *words])):
        print(text)
