"""Export a run's encoder, sampler or MAE: python scripts/export_encoder.py RUN --format hf --out FOLDER."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("export", sys.argv[1:], program="export_encoder.py"))
