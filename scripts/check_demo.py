"""Check that one frame of a demo clip does not tell its class: python scripts/check_demo.py."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("check-demo", sys.argv[1:], program="check_demo.py"))
