"""Measure the gain from pre-training by probes on the demo data: python scripts/probe_demo.py."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("probe-demo", sys.argv[1:], program="probe_demo.py"))
