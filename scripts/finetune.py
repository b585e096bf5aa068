"""Fine-tune an encoder on labelled videos: python scripts/finetune.py --encoder RUN --env ID."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("finetune", sys.argv[1:], program="finetune.py"))
