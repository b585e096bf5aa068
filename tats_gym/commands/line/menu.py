"""Finds the command that the first word names, and lists the commands for --help."""

import shutil
import sys
import textwrap
from collections.abc import Mapping

from tats_gym.messages import did_you_mean


def chosen(words: list[str], program: str, about: str, commands: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the command's name and its own words.

    Args:
        words: The words of the command line.
        program: The words that precede them.
        about: The first lines of the help.
        commands: Name of a command to its line of the help.

    Raises:
        SystemExit: If the help was asked for, with 0, or there is no such command, with 2; both are printed.
    """
    if {"-h", "--help"} & set(words[:1]):
        print(overview(program, about, commands))
        raise SystemExit(0)
    if not words:
        print(overview(program, about, commands), file=sys.stderr)
        raise SystemExit(2)
    if words[0] not in commands:
        near = did_you_mean(words[0], commands)
        print(
            f"error: {program} has no command {words[0]!r}{near or f'; {program} --help lists them'}", file=sys.stderr
        )
        raise SystemExit(2)
    return words[0], words[1:]


def overview(program: str, about: str, commands: Mapping[str, str]) -> str:
    """Return the help that lists the commands, in the width of the terminal."""
    width = shutil.get_terminal_size().columns
    column = max(map(len, commands)) + 4
    lines = [
        textwrap.fill(f"  {name}".ljust(column) + text, width, subsequent_indent=" " * column, break_on_hyphens=False)
        for name, text in commands.items()
    ]
    usage = f"usage: {program} COMMAND ...\n       {program} COMMAND --help    the command's options"
    return "\n".join([usage, "", textwrap.fill(about, width), "", *lines])
