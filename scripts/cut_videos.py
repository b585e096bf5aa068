"""Cut long videos into short ones: python scripts/cut_videos.py ~/films --out FOLDER."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("cut", sys.argv[1:], program="cut_videos.py"))
