"""Compare agents over seeds: tats-gym compare --env TatsMask-demo-v0 --agents tats random."""

from tats_gym.agents import AGENTS
from tats_gym.agents.experiments.comparison.compare import CompareCommand, defaults_for
from tats_gym.agents.experiments.comparison.report import report_comparison
from tats_gym.commands.line.agent_options import refuse_agent_options
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import ENV_HELP, PRESET_HELP, CommandLine, check_mae, check_reserved, show_log

INSTEAD = {"env": "--env", "agent": "--agents", "seed": "--seeds", "out": "--out", "own_mae": "tats-gym train"}

ABOUT = f"""Compare agents over seeds: each trains an MAE with an equal number of forwards and equal K.

Writes numbers and a picture to --results. A stopped comparison continues by the same command. docs/comparison.md
explains the measures.

--agents NAMES  names of agents, or module:function of your own: {", ".join(AGENTS)}
{ENV_HELP}
{PRESET_HELP}"""


def main(words: list[str], program: str = "tats-gym compare") -> int:
    """Parse, do the missing runs, and print the results and their files."""
    show_log(words, times=True)
    return exit_code(lambda: _compare(words, program))


def _compare(words: list[str], program: str) -> None:
    line = CommandLine(words, program, ABOUT, "env", "preset")
    refuse_agent_options(line.rest)
    base, probing = defaults_for(line.env_id, line.first["preset"])
    command = line.settings(CompareCommand, CompareCommand(base=base, probing=probing))
    check_reserved(command.base, base, INSTEAD)
    check_mae(line, command.base, "base.mae")
    for text in report_comparison(command, words):
        print(text)
