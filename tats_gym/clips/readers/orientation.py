"""Rotation and mirroring of decoded frames by their display matrix."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import av
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer


class Orientation(NamedTuple):
    """The map from decoded to displayed pixels: quarter turns and mirrorings, which need no resampling."""

    transposed: bool
    """Rows become columns, before any mirroring."""
    upside_down: bool
    """Whether rows are shown in reverse order."""
    mirrored: bool
    """Whether columns are shown in reverse order."""

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn and mirror frames (..., H, W, C) for display."""
        if self.transposed:
            pixels = pixels.swapaxes(-3, -2)
        down, across = (-1 if self.upside_down else 1), (-1 if self.mirrored else 1)
        return np.ascontiguousarray(pixels[..., ::down, ::across, :])


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Read a frame's display matrix; angles are rounded to the nearest quarter turn.

    The matrix (a b u, c d v, x y w) maps the decoded pixel (p, q), p to the right and q down, to
    (a p + c q + x, b p + d q + y).
    """
    side_data = cast(Mapping[str, Buffer], frame.side_data)  # PyAV's stub declares only one of the value types
    if "DISPLAYMATRIX" not in side_data:
        return Orientation(transposed=False, upside_down=False, mirrored=False)
    a, b, _, c, d = np.frombuffer(memoryview(side_data["DISPLAYMATRIX"]), np.int32, count=5).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(transposed=False, upside_down=d < 0, mirrored=a < 0)
    return Orientation(transposed=True, upside_down=b < 0, mirrored=c < 0)
