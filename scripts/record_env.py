"""Record play in any Gymnasium environment: python scripts/record_env.py --env ID --out FOLDER."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("record", sys.argv[1:], program="record_env.py"))
