"""Train a token sampler and a masked autoencoder together: python scripts/train_ppo.py --env TatsMask-demo-v0."""

import sys

from tats_gym.commands import run

if __name__ == "__main__":
    sys.exit(run("train", sys.argv[1:], program="train_ppo.py"))
