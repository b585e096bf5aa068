"""Probe frozen encoders: python scripts/linear_probe.py --encoder RUN --env ID."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("probe", sys.argv[1:], program="linear_probe.py"))
