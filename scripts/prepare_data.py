"""Verify a dataset, or write its lists: python scripts/prepare_data.py verify|list --env ID."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("prepare", sys.argv[1:], program="prepare_data.py"))
