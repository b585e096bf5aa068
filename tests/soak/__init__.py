"""A long training under faults: python -m tests.soak trains for hours while files break and processes die."""

import shlex
import sys


def command(module: str) -> str:
    """Return the command line that this process was started with, without the place of the record."""
    words = sys.argv[1:]
    if "--out" in words:
        at = words.index("--out")
        words = words[:at] + words[at + 2 :]
    return shlex.join(["python", "-m", module, *words])
