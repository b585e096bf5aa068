"""Sweep the settings of a table in the paper's supplement: tats-gym sweep table2|table3|table6 --env ID."""

from tats_gym.agents.experiments.comparison.compare import defaults_for
from tats_gym.agents.experiments.sweeps.plan import plan_sweep
from tats_gym.agents.experiments.sweeps.sweep import SweepCommand, report_sweep
from tats_gym.commands.line.agent_options import refuse_agent_options
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import ENV_HELP, PRESET_HELP, CommandLine, check_mae, check_reserved, show_log

INSTEAD = {
    "env": "--env",
    "agent": "the table's",
    "seed": "--seeds",
    "out": "--out",
    "epoch_masks": "--budget",
    "own_mae": "tats-gym train",
}

ABOUT = f"""Sweep the settings of a table in the paper's supplement, and print it beside the paper's figures.

table2: m_o and k. table3: c1, c2, c3. table6: mask ratio and agent, by linear probing.

Every trial of the table is one run, in a folder of its own below --out. A stopped sweep continues by the same command,
which may be given on several machines that share --out: each takes the trials on which no other works.

{ENV_HELP}
{PRESET_HELP}"""


def main(words: list[str], program: str = "tats-gym sweep") -> int:
    """Parse, do the missing runs, and print the results and their files."""
    show_log(words, times=True)
    return exit_code(lambda: _sweep(words, program))


def _sweep(words: list[str], program: str) -> None:
    line = CommandLine(words, program, ABOUT, "env", "preset", plans=True)
    refuse_agent_options(line.rest)
    base, probing = defaults_for(line.env_id, line.first["preset"])
    command = line.settings(SweepCommand, SweepCommand(table="table2", base=base, probing=probing))
    swept = dict.fromkeys(command.sweep.settings, f"{command.table}'s own")
    check_reserved(command.base, base, swept | INSTEAD)
    check_mae(line, command.base, "base.mae")
    for text in plan_sweep(command) if line.dry_run else report_sweep(command, words):
        print(text)
