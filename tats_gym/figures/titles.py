"""Titles of figures, broken into the lines that fit."""

import textwrap

from matplotlib.figure import Figure

from tats_gym.model.target import PIXELS

CHARACTER_INCHES = 0.08
"""Approximate width of a character of a title."""
TITLE_LINES = 3


def title_lines(title: str, width_inches: float) -> list[str]:
    """Break a title into the lines that fit a figure; bytes of file names that are not text are replaced."""
    text = title.encode("utf-8", "replace").decode()
    return textwrap.wrap(text, int(width_inches / CHARACTER_INCHES), max_lines=TITLE_LINES, placeholder=" ...")


def write_title(figure: Figure, title: str, **where: float) -> None:
    """Write a title above a figure, without reading dollars as formulas."""
    lines = title_lines(title, figure.get_size_inches()[0])
    figure.suptitle("\n".join(lines), fontsize=9, parse_math=False, **where)


def with_target(title: str, target: str) -> str:
    """Put before a title why the figure has no reconstruction, if the MAE predicts another target than pixels."""
    if target == PIXELS:
        return title
    reason = f"no reconstruction: the MAE predicts {target}, not pixels"
    return f"{reason}; {title}" if title else reason
