"""The commands of `tats-gym`: a module for each, imported when the command is given."""

import sys
from importlib import import_module

from tats_gym import __version__
from tats_gym.commands.line.menu import chosen

ABOUT = "Pre-train a masked video autoencoder together with an agent that chooses the tokens it may see."

COMMANDS = {
    "train": "train a sampler (--agent) together with its MAE",
    "finetune": "fine-tune an encoder on labelled videos, and test it",
    "predict": "predict the classes of videos with a fine-tuned classifier",
    "probe": "probe frozen encoders",
    "export": "export an encoder, classifier, sampler or MAE for other programs",
    "visualize": "draw masks and reconstructions of any video",
    "report": "write one HTML page about runs",
    "compare": "compare agents over seeds, at equal cost",
    "bench": "compare masks on fixed tasks, for the leaderboard",
    "study": "compare settings of TATS over seeds",
    "sweep": "run the supplement's tables 2, 3 and 6, beside the paper's figures",
    "prepare": "verify a dataset, or write its list",
    "cut": "cut long videos into short ones",
    "record": "record play in any Gymnasium environment as videos",
    "benchmark": "measure speed beside that of the peers",
    "finetune-demo": "measure the gain from pre-training by fine-tuning on the demo data",
    "probe-demo": "measure the gain from pre-training by probes on the demo data",
    "check-demo": "check that one frame of a demo clip does not tell its class",
}
"""Name of a command to its line of the help. Its module has the same name, with underscores."""


def main(words: list[str] | None = None) -> int:
    """Run `tats-gym` with these words, or with those of the command line; return the exit code."""
    words = sys.argv[1:] if words is None else words
    if words == ["--version"]:
        print(f"tats-gym {__version__}")
        return 0
    name, rest = chosen(words, "tats-gym", ABOUT, COMMANDS)
    return run(name, rest, f"tats-gym {name}")


def run(name: str, words: list[str], program: str) -> int:
    """Run one command and return its exit code.

    Args:
        name: Name of the command, one of `COMMANDS`.
        words: Its options.
        program: Its name in the help and in errors.
    """
    code: int = import_module(f"tats_gym.commands.{name.replace('-', '_')}").main(words, program)
    return code
