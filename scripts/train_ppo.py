"""Train a token sampler and a masked autoencoder together: python scripts/train_ppo.py --env TatsMask-demo-v0."""

import logging
import sys

from tats_gym.agents.training.command_line import exit_code
from tats_gym.agents.training.options import TrainingOptions


def main(arguments: list[str]) -> int:
    """Parse, train, and print the results and their files."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return exit_code(
        lambda: _run(arguments),
        "go on from the last checkpoint with --resume and the run's folder",
        "--num-envs takes fewer clips at once, --recompute and --decode-ratio need less for each; see docs/scale.md",
    )


def _run(arguments: list[str]) -> int:
    options = TrainingOptions.parse(arguments)
    from tats_gym.agents.training.train import train  # takes seconds, which --help and a mistyped option do without

    return train(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
