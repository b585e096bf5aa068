"""Sweep the settings of a table in the paper's supplement: python scripts/sweep.py table2|table3|table6 --env ID."""

import logging
import sys

import tyro

from tats_gym.agents.experiments.comparison import defaults_for
from tats_gym.agents.experiments.sweep import SweepCommand, report_sweep
from tats_gym.agents.training.command_line import check_reserved, exit_code
from tats_gym.agents.training.options import PRESET_HELP, parse_env

INSTEAD = {"env": "--env", "agent": "the table's", "seed": "--seeds", "out": "--out", "epoch_clips": "--budget"}

DESCRIPTION = f"""Sweep the settings of a table in the paper's supplement, and print it beside the paper's figures.

table2: m_o and k. table3: c1, c2, c3. table6: mask ratio and agent, by linear probing.

Every cell of the table is one run, in a folder of its own below --out. A stopped sweep continues by the same command,
which may be given on several machines that share --out: each takes the cells on which no other works.

--env ID        id of the environment; by default TatsMask-demo-v0
{PRESET_HELP}"""


def main(arguments: list[str]) -> int:
    """Parse, do the missing runs, and print the results and their files."""
    env_id, preset, rest = parse_env(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def run() -> None:
        base, probing = defaults_for(env_id, preset)
        defaults = SweepCommand(table="table2", base=base, probing=probing)
        command = tyro.cli(SweepCommand, args=rest, default=defaults, prog="sweep.py", description=DESCRIPTION)
        swept = dict.fromkeys(command.sweep.settings, f"{command.table}'s own")
        check_reserved(command.base, base, swept | INSTEAD)
        for text in report_sweep(command, arguments):
            print(text)

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
