"""Run a study, several arms with several seeds each: tats-gym study content.

Writes numbers and a picture to --results. A stopped study continues by the same command.
"""

from tats_gym.agents.experiments.studies.named import StudyConfig, report_study
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine, show_log


def main(words: list[str], program: str = "tats-gym study") -> int:
    """Parse, do the missing runs, and print the results and their files."""
    show_log(words, times=True)
    return exit_code(lambda: _study(words, program))


def _study(words: list[str], program: str) -> None:
    for text in report_study(CommandLine(words, program, __doc__).settings(StudyConfig)):
        print(text)
