"""Measure the gain from pre-training by fine-tuning on the demo data: python scripts/finetune_demo.py."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("finetune-demo", sys.argv[1:], program="finetune_demo.py"))
