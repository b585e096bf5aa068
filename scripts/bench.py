"""Compare masks on the benchmark's tasks: python scripts/bench.py tube --tasks demo-05 demo-10."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("bench", sys.argv[1:], program="bench.py"))
