"""The result of one step, as tensors."""

from typing import NamedTuple

from torch import Tensor


class Outcome(NamedTuple):
    """Result of one step, as tensors: on the environment's device, clips and positions on the host."""

    rewards: Tensor
    """(B,) float32."""
    errors: Tensor
    """(B, L) mean error of each predicted token, see `Reconstruction`, zero elsewhere; float32, without a graph."""
    predicted: Tensor
    """(B, L) bool, True where a token was hidden and (see `decode_ratio`) predicted."""
    clips: Tensor
    """(B,) ids of the masked clips."""
    positions: Tensor
    """(B,) int64 positions of these clips in the stream; -1 for clips that `reset` took by id."""
