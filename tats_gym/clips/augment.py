"""Sampling of clips from videos: the window of frames, the crop box, and the resize."""

from itertools import product
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""

Sampling = Literal["stride", "segments"]
"""Frames of a window: every `stride`-th frame, or one from each of T equal segments of the whole video."""

CROP_SCALES = (1.0, 0.875, 0.75, 0.66)
SNAP_PX = 3
"""Difference in pixels below which a side of the crop is set to the output's size."""

MAX_PIXEL_ASPECT = 10
"""Largest ratio of a pixel's sides; beyond it the file's number is a mistake."""

SCALE_PAIRS = tuple(pair for pair in product(range(len(CROP_SCALES)), repeat=2) if abs(pair[0] - pair[1]) <= 1)
"""The 10 choices of (height, width) among `CROP_SCALES`: at most one scale apart."""

OFFSETS = (
    *product((0, 4), (0, 4)),  # corners
    *((0, 2), (2, 0), (2, 2), (2, 4), (4, 2)),  # centre and middles of the edges
    *product((1, 3), (1, 3)),  # quarter points
)
"""The 13 places of a crop as (top, left), in quarters of the free space."""


def random_start(num_frames: int, frames: int, stride: int, rng: np.random.Generator) -> int:
    """Draw the first frame of a window uniformly among all that fit; 0 in a video that is too short."""
    return int(rng.integers(max(num_frames - frames * stride, 0), endpoint=True))


def start_at(num_frames: int, frames: int, stride: int, where: float) -> int:
    """Return the first frame of the window at the fraction `where`, in [0, 1), of all that fit; 0 if none fits."""
    return int(where * (max(num_frames - frames * stride, 0) + 1))


def centre_start(num_frames: int, frames: int, stride: int) -> int:
    """Return the first frame of the window in the middle; 0 in a video that is too short."""
    return max(num_frames - frames * stride, 0) // 2


def window_indices(num_frames: int, frames: int, stride: int, start: int) -> NDArray[np.int64]:
    """Return every `stride`-th frame from `start` on; past the end of the video, its last frame repeats.

    Returns:
        Indices of shape (T,).
    """
    return np.minimum(start + stride * np.arange(frames), num_frames - 1)


def segment_indices(num_frames: int, frames: int, places: float | NDArray[np.float64]) -> NDArray[np.int64]:
    """Take one frame from each of T equal segments of a video of any length; in a short one, frames repeat.

    Args:
        num_frames: Frames in the video.
        frames: Number of segments, T.
        places: Place of each frame in its segment, in [0, 1): (T,), or one for all.

    Returns:
        Indices of shape (T,).
    """
    return np.floor((np.arange(frames) + places) * num_frames / frames).astype(np.int64)


def random_window(
    num_frames: int, frames: int, stride: int, sampling: Sampling, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw a window: its start, or the place of each frame in its segment; indices (T,)."""
    if sampling == "segments":
        return segment_indices(num_frames, frames, rng.random(frames))
    return window_indices(num_frames, frames, stride, random_start(num_frames, frames, stride, rng))


def window_at(num_frames: int, frames: int, stride: int, sampling: Sampling, where: float) -> NDArray[np.int64]:
    """Return the indices (T,) of the window at `where`, in [0, 1): a fraction of all starts, or of every segment."""
    if sampling == "segments":
        return segment_indices(num_frames, frames, where)
    return window_indices(num_frames, frames, stride, start_at(num_frames, frames, stride, where))


def view_windows(num_frames: int, frames: int, stride: int, sampling: Sampling, count: int) -> NDArray[np.int64]:
    """Return windows for testing; a single one lies in the middle of the video or of every segment.

    With a stride, several windows are evenly spaced from the first that fits to the last. With segments, window k takes
    the frames at k/count of each segment: two windows are the starts and the centres, as VideoMAE tests on SSv2.

    Returns:
        Indices of shape (count, T).
    """
    if sampling == "segments":
        places = np.arange(count) / count if count > 1 else [0.5]
        return np.stack([segment_indices(num_frames, frames, place) for place in places])
    last = max(num_frames - frames * stride, 0)
    starts = [view * last // (count - 1) for view in range(count)] if count > 1 else [last // 2]
    return np.stack([window_indices(num_frames, frames, stride, start) for start in starts])


def multi_scale_crop_box(height: int, width: int, size: int, rng: np.random.Generator) -> Box:
    """Draw a box of VideoMAE's MultiScaleCrop: one of 10 shapes at one of 13 places, both drawn uniformly.

    A side is a share (`CROP_SCALES`) of the frame's shorter side, or `size` if it differs from that by less than 3
    pixels. Departure: a box never exceeds the frame, where the original would pad with black.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        size: Side in pixels of the square to which the crop is resized.
        rng: Source of the draw.
    """
    base = min(height, width)
    sides = [int(base * scale) for scale in CROP_SCALES]
    sides = [size if abs(side - size) < SNAP_PX and size <= base else side for side in sides]
    tall, wide = (max(sides[scale], 1) for scale in SCALE_PAIRS[rng.integers(len(SCALE_PAIRS))])
    down, right = OFFSETS[rng.integers(len(OFFSETS))]
    return down * ((height - tall) // 4), right * ((width - wide) // 4), tall, wide


def random_box(
    height: int, width: int, rng: np.random.Generator, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box | None:
    """Draw a box of random area, aspect ratio and place; None if none of 10 fits. See `random_resized_crop_box`."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        shape = np.exp(rng.uniform(*np.log(ratio)))
        tall, wide = round(np.sqrt(area / shape)), round(np.sqrt(area * shape))
        if 0 < tall <= height and 0 < wide <= width:
            top, left = rng.integers((height - tall, width - wide), endpoint=True)
            return int(top), int(left), tall, wide
    return None


def random_resized_crop_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """Draw a box of random area and aspect ratio, anywhere in the frame.

    The paper (supplement, 2.1) names random resized crops and the range of `scale`. It leaves `ratio` open, and the
    case that no box fits; both follow torchvision's RandomResizedCrop: the logarithm of width over height is drawn
    uniformly, and after 10 boxes that do not fit, the largest centred box with an aspect ratio within `ratio` is taken.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        rng: Source of the draw.
        scale: Range of the box's share of the frame's area.
        ratio: Range of the box's width over its height.
    """
    box = random_box(height, width, rng, scale, ratio)
    if box is not None:
        return box
    tall = min(height, max(round(width / ratio[0]), 1))
    wide = min(width, max(round(height * ratio[1]), 1))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def centre_crop_box(height: int, width: int) -> Box:
    """Return the largest square in the middle of the frame."""
    (box,) = view_boxes(height, width, 1)
    return box


def view_boxes(height: int, width: int, count: int) -> list[Box]:
    """Return the largest squares for testing, evenly spaced along the frame's longer side; a single one in the middle.

    Three are left, centre and right in a wide frame, top, centre and bottom in a tall one.
    """
    side = min(height, width)
    down, right = height - side, width - side
    shares = [(view, count - 1) for view in range(count)] if count > 1 else [(1, 2)]
    return [(down * part // whole, right * part // whole, side, side) for part, whole in shares]


def displayed_width(width: int, pixel_aspect: float) -> int:
    """Return the width of a frame on the screen, in heights of a row.

    Args:
        width: Width of the frame in stored pixels.
        pixel_aspect: Width of a pixel over its height.

    Raises:
        ValueError: If a pixel's sides differ beyond `MAX_PIXEL_ASPECT`.
    """
    if not 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT:
        raise ValueError(
            f"the width of its pixels over their height must lie in [1/{MAX_PIXEL_ASPECT}, {MAX_PIXEL_ASPECT}], "
            f"got {pixel_aspect:g}"
        )
    return max(round(width * pixel_aspect), 1)


def stored_box(box: Box, displayed: int, width: int) -> Box:
    """Map a box of the displayed picture to the stored pixels, whose rows are the same: columns to the nearest one.

    Args:
        box: Box within the displayed picture.
        displayed: Width of that picture.
        width: Width of the frame in stored pixels.
    """
    top, left, height, wide = box
    start = min(round(left * width / displayed), width - 1)
    stop = max(round((left + wide) * width / displayed), start + 1)
    return top, start, height, stop - start


def crop_and_resize(
    frames: NDArray[np.uint8], box: Box, size: int, flip: bool = False, *, antialias: bool = True
) -> Tensor:
    """Crop the same box from every frame and resize it, in uint8 throughout.

    Args:
        frames: Pixels of shape (T, H, W, C).
        box: Part to crop, within the frame.
        size: Side of the result in pixels; a smaller box is enlarged.
        flip: Mirror the crop horizontally.
        antialias: See `ClipConfig.antialias`.

    Returns:
        Pixels of shape (C, T, size, size), uint8.
    """
    top, left, height, width = box
    pixels: Tensor = torch.from_numpy(frames[:, top : top + height, left : left + width])
    pixels = pixels.permute(0, 3, 1, 2)  # (T, C, h, w)
    pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=antialias)  # (T, C, H, W)
    pixels = pixels.transpose(0, 1).contiguous()  # (C, T, H, W)
    return pixels.flip(-1) if flip else pixels
