"""Compare agents over seeds: python scripts/compare_agents.py --agents tats random."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("compare", sys.argv[1:], program="compare_agents.py"))
