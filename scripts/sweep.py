"""Sweep the settings of a table in the paper's supplement: python scripts/sweep.py table2 --env ID."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("sweep", sys.argv[1:], program="sweep.py"))
