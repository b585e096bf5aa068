"""Keeps the checkpoint of a fine-tuning with the highest held-out top-1, beside the newest."""

import logging
from pathlib import Path
from typing import Any

from tats_gym.runs.checkpoint import CheckpointError, load_checkpoint, write_checkpoint

logger = logging.getLogger(__name__)

BEST = "checkpoints/best.pt"
"""Its path in the run's folder; a checkpoint that commands take as they take a run, without the optimiser's state."""


class BestCheckpoint:
    """The checkpoint with the highest held-out top-1 so far; of equal ones the first.

    Args:
        path: Its file.
        step: Step at which the run begins or is resumed; a file of a later step is of training that is repeated.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.top1 = _top1_until(path, step)
        """Its top-1; -1 where there is none."""

    def offer(self, top1: float, state: dict[str, Any]) -> None:
        """Write a checkpoint if its top-1 is higher."""
        if top1 > self.top1:
            write_checkpoint(self.path, {**state, "top1": top1})
            self.top1 = top1


def _top1_until(path: Path, step: int) -> float:
    if not path.exists():
        return -1.0
    try:
        state = load_checkpoint(path)
        return float(state["top1"]) if state["step"] <= step else -1.0
    except (CheckpointError, KeyError, TypeError) as err:
        logger.warning("the best checkpoint so far is not known, the next evaluation begins anew: %s", err)
        return -1.0
