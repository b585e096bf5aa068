"""Draw an agent's masks of videos and the MAE's reconstruction: python scripts/visualize_masks.py RUN."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("visualize", sys.argv[1:], program="visualize_masks.py"))
