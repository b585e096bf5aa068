"""Fine-tune on the demo's twelve motions, from a pre-trained encoder and from scratch, and draw both curves.

Makes the data, pre-trains, fine-tunes twice with the same settings, and writes numbers and picture to --results. A
stopped study continues by the same command.
"""

from tats_gym.agents.experiments.finetune.study import FinetuneDemo, finetune_demo
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine, show_log


def main(words: list[str], program: str = "tats-gym finetune-demo") -> int:
    """Parse, do the missing runs, and print the results and their files."""
    show_log(words, times=True)
    return exit_code(lambda: _finetune_demo(words, program))


def _finetune_demo(words: list[str], program: str) -> None:
    for text in finetune_demo(CommandLine(words, program, __doc__).settings(FinetuneDemo)):
        print(text)
