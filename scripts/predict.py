"""Predict the classes of videos: python scripts/predict.py VIDEO... --classifier RUN."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("predict", sys.argv[1:], program="predict.py"))
