"""Wraps the text of a command's help at the terminal's width."""

import re
import shutil
import textwrap

OPTION = re.compile(r"(--\S+(?: \S+)?)\s{2,}(.*)", re.DOTALL)
COLUMN = 16
"""Column at which the texts of options begin."""


def wrapped(text: str) -> str:
    """Wrap paragraphs and lists of options at the terminal's width; indented lines, such as commands, stay as they are.

    Args:
        text: Paragraphs between blank lines; in a list each option begins a line, two spaces or more before its text.
    """
    width = shutil.get_terminal_size().columns
    return "\n\n".join(_paragraph(each, width) for each in text.strip().split("\n\n"))


def _paragraph(text: str, width: int) -> str:
    if text.startswith("    "):
        return text
    return "\n".join(_item(each, width) for each in re.split(r"\n(?=--)", text))


def _item(text: str, width: int) -> str:
    option = OPTION.fullmatch(text)
    name, words = (option[1].ljust(COLUMN - 1) + " ", option[2]) if option else ("", text)
    return textwrap.fill(
        " ".join(words.split()),
        width,
        initial_indent=name,
        subsequent_indent=" " * COLUMN if option else "",
        break_on_hyphens=False,
        break_long_words=False,
    )
