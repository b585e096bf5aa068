"""The picture of a study of fine-tuning: held-out top-1 of each arm over the clips seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tats_gym.figures.canvas import pixels_of


def finetune_figure(outcomes: dict[str, dict[str, Any]], chance: float, title: str) -> NDArray[np.uint8]:
    """Draw held-out top-1 over clips seen, a line for each arm; chance is dotted.

    Returns:
        The picture (height, width, 3).
    """
    figure = Figure(figsize=(6.5, 4), dpi=100, layout="constrained")
    axis = figure.subplots()
    for arm, outcome in outcomes.items():
        clips, top1 = _columns(outcome["curve"])
        axis.plot(clips, [100 * share for share in top1], lw=2, label=arm)
    axis.axhline(100 * chance, color="0.5", ls=":", label="chance")
    axis.set(xlabel="clips of fine-tuning", ylabel="top-1 on held-out clips, per cent", ylim=(0, 100))
    axis.legend()
    figure.suptitle(title, fontsize=10)
    return pixels_of(figure)


def _columns(pairs: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [clips for clips, _ in pairs], [top1 for _, top1 in pairs]
