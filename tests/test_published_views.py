"""The test views of the published VideoMAE, by hand: its windows of sampled frames, its resize and its squares."""

import numpy as np
import pytest
import torch

from tats_gym.clips import ClipConfig
from tats_gym.clips.published_views import published_squares, published_windows
from tests.video_files import noise_frames


@pytest.mark.parametrize(
    ("num_frames", "count", "expected"),
    [
        # 100 frames, every 4th: 25 of them. Five windows of 4 start at 0, 5.25, 10.5, 15.75 and 21, rounded down.
        (100, 5, [[0, 4, 8, 12], [20, 24, 28, 32], [40, 44, 48, 52], [60, 64, 68, 72], [84, 88, 92, 96]]),
        (101, 2, [[0, 4, 8, 12], [88, 92, 96, 100]]),  # 26 sampled frames
        (101, 1, [[44, 48, 52, 56]]),
        (9, 2, [[0, 4, 8, 8]] * 2),  # three sampled frames, the last of which repeats
        (1, 2, [[0, 0, 0, 0]] * 2),
    ],
)
def test_windows_are_of_every_fourth_frame(num_frames, count, expected):
    assert published_windows(num_frames, 4, 4, "stride", count).tolist() == expected


def test_windows_by_segments_are_starts_and_centres():
    assert published_windows(30, 4, 2, "segments", 2).tolist() == [[0, 7, 15, 22], [3, 11, 18, 26]]


def _bilinear(image, height, width):
    """Resize (H, W) by the definition: linear between the two nearest pixel centres, in float64."""
    rows, columns = (
        (np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip((height, width), image.shape, strict=True)
    )
    for axis, places in enumerate((rows, columns)):
        places = places.clip(0, image.shape[axis] - 1)
        low = np.floor(places).astype(int)
        high, share = np.minimum(low + 1, image.shape[axis] - 1), places - low
        share = share[:, None] if axis == 0 else share
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


@pytest.mark.parametrize(
    ("shape", "resized", "starts"),
    [
        ((48, 85), (32, 56), [0, 12, 24]),  # 56.7 columns, rounded down
        ((85, 48), (56, 32), [0, 12, 24]),
        ((16, 24), (32, 48), [0, 8, 16]),
        ((32, 37), (32, 37), [0, 2, 5]),  # not resized; the middle is at 2.5
    ],
)
def test_frames_are_resized_first_and_squares_cut_along_the_longer_side(shape, resized, starts):
    frames = noise_frames(2, 96, 96)[:, : shape[0], : shape[1]]
    whole = np.stack([[_bilinear(frames[t, :, :, c].astype(float), *resized) for t in range(2)] for c in range(3)])
    found = published_squares(frames, 3, 32)
    for square, start in zip(found, starts, strict=True):
        cut = slice(start, start + 32)
        expected = whole[:, :, cut] if shape[0] > shape[1] else whole[:, :, :, cut]
        assert square.dtype == torch.uint8
        assert np.abs(square.numpy() - expected).max() < 0.51  # of the rounding to whole levels
    (middle,) = published_squares(frames, 1, 32)
    assert middle.shape == (3, 2, 32, 32)
    if starts[1] * 2 == starts[2]:
        assert torch.equal(middle, found[1])


def test_square_pixels_are_needed():
    with pytest.raises(ValueError, match="published_views takes pixels as square: pixel_aspect must be 'ignore'"):
        ClipConfig(published_views=True, pixel_aspect="apply")
