"""Compare agents over seeds: python scripts/compare_agents.py --env TatsMask-demo-v0 --agents tats random."""

import logging
import sys

import tyro

from tats_gym.agents.experiments.comparison import CompareCommand, defaults_for
from tats_gym.agents.experiments.comparison_report import report_comparison
from tats_gym.agents.training.command_line import check_reserved, exit_code
from tats_gym.agents.training.options import PRESET_HELP, parse_env

INSTEAD = {"env": "--env", "agent": "--agents", "seed": "--seeds", "out": "--out"}

DESCRIPTION = f"""Compare agents over seeds: each trains an MAE with an equal number of forwards and equal K.

Writes numbers and a picture to --results. A stopped comparison continues by the same command. docs/comparison.md
explains the measures.

--env ID        id of the environment; by default TatsMask-demo-v0
{PRESET_HELP}"""


def main(arguments: list[str]) -> int:
    """Parse, do the missing runs, and print the results and their files."""
    env_id, preset, rest = parse_env(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def run() -> None:
        base, probing = defaults_for(env_id, preset)
        defaults = CompareCommand(base=base, probing=probing)
        command = tyro.cli(
            CompareCommand, args=rest, default=defaults, prog="compare_agents.py", description=DESCRIPTION
        )
        check_reserved(command.base, base, INSTEAD)
        for text in report_comparison(command, arguments):
            print(text)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
