"""The test views of the published VideoMAE: windows of every `stride`-th frame, squares of a frame that was resized."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tats_gym.clips.augment import Sampling, view_windows


def published_windows(num_frames: int, frames: int, stride: int, sampling: Sampling, count: int) -> NDArray[np.int64]:
    """Return windows for testing, see `view_windows`: of frames 0, stride, 2 * stride, ...; the last may repeat.

    `view_windows` may start at any frame, within `stride` of these. With segments both are the same.

    Returns:
        Indices of shape (count, T).
    """
    if sampling == "segments":
        return view_windows(num_frames, frames, stride, sampling, count)
    sampled = -(-num_frames // stride)
    last = max(sampled - frames, 0)
    starts = np.array([int(view * (last / (count - 1))) for view in range(count)] if count > 1 else [last // 2])
    return np.minimum(starts[:, None] + np.arange(frames), sampled - 1) * stride


def published_squares(frames: NDArray[np.uint8], count: int, size: int) -> list[Tensor]:
    """Resize frames (T, H, W, C) to a shorter side of `size` pixels, and crop squares along the longer one.

    The resize is bilinear without antialiasing, as OpenCV's, from which it differs by its rounding: by one level.

    Returns:
        Squares of shape (C, T, size, size), uint8, evenly spaced; a single one lies in the middle.
    """
    height, width = frames.shape[1:3]
    pixels = torch.from_numpy(frames).permute(3, 0, 1, 2)  # (C, T, H, W)
    if min(height, width) != size:
        short = min(height, width)
        shape = (int(size * height / short), int(size * width / short))
        pixels = F.interpolate(pixels.float(), shape, mode="bilinear", align_corners=False).round().to(torch.uint8)
    room = max(pixels.shape[2:]) - size
    starts = [int(square * (room / (count - 1))) for square in range(count)] if count > 1 else [room // 2]
    return [pixels.narrow(2 if height >= width else 3, start, size) for start in starts]
