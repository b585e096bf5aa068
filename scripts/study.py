"""Run a study, several arms with several seeds each: python scripts/study.py content."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("study", sys.argv[1:], program="study.py"))
