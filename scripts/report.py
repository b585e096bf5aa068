"""Write one HTML page about runs: python scripts/report.py RUN [RUN ...]."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("report", sys.argv[1:], program="report.py"))
