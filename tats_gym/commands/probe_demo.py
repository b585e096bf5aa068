"""Compare the features of an encoder before and after pre-training on the demo data.

Pre-trains from several seeds, probes each encoder before, during and after, and writes table, numbers and curves to
--results. A stopped study continues by the same command.
"""

from tats_gym.agents.experiments.probe.study import ProbeDemo, probe_demo
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine, show_log


def main(words: list[str], program: str = "tats-gym probe-demo") -> int:
    """Parse, do the missing runs, and print the results and their files."""
    show_log(words, times=True)
    return exit_code(lambda: _probe_demo(words, program))


def _probe_demo(words: list[str], program: str) -> None:
    for text in probe_demo(CommandLine(words, program, __doc__).settings(ProbeDemo)):
        print(text)
