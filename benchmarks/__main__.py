"""`python -m benchmarks`, from the root of a checkout: the command `tats-gym benchmark`."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("benchmark", sys.argv[1:], program="python -m benchmarks"))
