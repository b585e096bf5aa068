"""Windows and crop boxes are those of the definition, and pixels stay uint8."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from tats_gym.clips.augment import (
    centre_crop_box,
    centre_start,
    crop_and_resize,
    multi_scale_crop_box,
    random_resized_crop_box,
    random_start,
    window_indices,
)


@pytest.mark.parametrize(
    ("num_frames", "stride", "start", "expected"),
    [
        (10, 2, 1, [1, 3, 5, 7]),
        (8, 2, 0, [0, 2, 4, 6]),
        (5, 2, 0, [0, 2, 4, 4]),
        (1, 4, 0, [0, 0, 0, 0]),
    ],
)
def test_windows_by_hand(num_frames, stride, start, expected):
    assert window_indices(num_frames, 4, stride, start).tolist() == expected


@pytest.mark.parametrize(("num_frames", "expected"), [(8, 0), (9, 0), (10, 1), (21, 6), (3, 0)])
def test_the_centre_window_has_as_much_before_as_after(num_frames, expected):
    assert centre_start(num_frames, 4, 2) == expected


def test_random_windows_start_uniformly_wherever_they_fit():
    rng = np.random.default_rng(0)
    counts = Counter(random_start(12, 4, 2, rng) for _ in range(5000))
    assert set(counts) == {0, 1, 2, 3, 4}  # 12 frames, of which the window takes 8
    assert min(counts.values()) > 900
    assert {random_start(8, 4, 2, rng) for _ in range(9)} == {0}
    assert {random_start(3, 4, 2, rng) for _ in range(9)} == {0}


def test_multi_scale_crop_is_uniform_over_the_shapes_and_places_of_its_definition():
    # 240 x 1, .875, .75, .66 = 240, 210, 180, 158; none is within 3 pixels of 224.
    sides = [240, 210, 180, 158]
    pairs = [(a, b) for (i, a), (j, b) in product(enumerate(sides), repeat=2) if abs(i - j) <= 1]
    corners, middles, quarters = product((0, 4), (0, 4)), [(0, 2), (2, 0), (2, 4), (4, 2)], product((1, 3), (1, 3))
    places = [*corners, *middles, *quarters, (2, 2)]
    expected = Counter(
        (down * ((240 - h) // 4), right * ((320 - w) // 4), h, w) for (h, w), (down, right) in product(pairs, places)
    )
    assert (len(pairs), len(places)) == (10, 13)
    rng = np.random.default_rng(0)
    draws = 130 * 200
    boxes = Counter(multi_scale_crop_box(240, 320, 224, rng) for _ in range(draws))
    assert set(boxes) == set(expected)
    chi2 = sum((boxes[box] - n * draws / 130) ** 2 / (n * draws / 130) for box, n in expected.items())
    freedom = len(expected) - 1
    assert chi2 < freedom + 4 * (2 * freedom) ** 0.5
    shapes = Counter(multi_scale_crop_box(240, 320, 224, rng)[2:] for _ in range(10_000))
    assert set(shapes) == set(pairs)
    assert all(abs(n - 1000) < 120 for n in shapes.values())  # 4 deviations of 30


@pytest.mark.parametrize(
    ("base", "sides"),
    [
        (256, {256, 224, 192, 168}),
        (253, {253, 221, 189, 166}),  # 221 is 3 pixels off: it stays
        (254, {254, 224, 190, 167}),  # 222 is 2 pixels off: it snaps
        (222, {222, 194, 166, 146}),  # 222 would snap, but the frame has no 224 rows
        (1, {1}),
    ],
)
def test_sides_near_the_output_snap_to_it_within_the_frame(base, sides):
    rng = np.random.default_rng(0)
    boxes = [multi_scale_crop_box(base, 2 * base, 224, rng) for _ in range(400)]
    assert {side for box in boxes for side in box[2:]} == sides
    assert all(0 <= top <= base - h and 0 <= left <= 2 * base - w for top, left, h, w in boxes)


def test_random_resized_crops_lie_in_the_frame_with_the_area_and_the_shape_that_were_asked_for():
    rng = np.random.default_rng(0)
    boxes = np.array([random_resized_crop_box(240, 320, rng, (0.5, 1.0)) for _ in range(4000)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert ((top + height <= 240) & (left + width <= 320)).all()
    share, shape = height * width / (240 * 320), width / height
    assert 0.497 < share.min() < 0.51  # sides are whole pixels, hence a little less than 0.5
    assert 0.95 < share.max() <= 1
    assert 0.74 < shape.min() < 0.78
    assert 1.31 < shape.max() < 1.35


def test_random_resized_crops_are_uniform_in_area_log_shape_and_place_where_every_box_fits():
    rng = np.random.default_rng(0)
    boxes = np.array([random_resized_crop_box(600, 600, rng, scale=(0.1, 0.5)) for _ in range(8000)])
    top, left, height, width = boxes.T
    draws = {
        "area": (height * width / 600**2 - 0.1) / 0.4,
        "shape": np.log(width / height * 4 / 3) / np.log(16 / 9),
        "top": (top + 0.5) / (601 - height),
        "left": (left + 0.5) / (601 - width),
    }
    for name, values in draws.items():
        counts, _ = np.histogram(values, 10, (0, 1))
        chi2 = ((counts - 800) ** 2 / 800).sum()
        assert chi2 < 9 + 4 * 18**0.5, name  # 4 deviations, as 9 degrees of freedom vary by 18
    assert abs(np.corrcoef(draws["top"], draws["left"])[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (30, 300, (0, 130, 30, 40)),  # too wide: 30 * 4/3
        (400, 30, (180, 0, 40, 30)),  # too tall: 30 / (3/4)
        (1, 9, (0, 4, 1, 1)),
    ],
)
def test_where_no_random_box_fits_the_largest_of_an_allowed_shape_is_taken(height, width, expected):
    rng = np.random.default_rng(0)
    assert {random_resized_crop_box(height, width, rng, (0.5, 1.0)) for _ in range(20)} == {expected}


def test_the_whole_frame_can_be_asked_for():
    rng = np.random.default_rng(0)
    assert random_resized_crop_box(90, 120, rng, scale=(1, 1), ratio=(4 / 3, 4 / 3)) == (0, 0, 90, 120)


def test_the_centre_crop_is_the_largest_square():
    assert centre_crop_box(240, 320) == (0, 40, 240, 240)
    assert centre_crop_box(321, 240) == (40, 0, 240, 240)


def test_a_crop_at_the_output_size_is_cut_without_a_change():
    frames = np.random.default_rng(0).integers(256, size=(3, 9, 12, 3), dtype=np.uint8)
    clip = crop_and_resize(frames, (2, 5, 6, 6), 6)
    assert (clip.shape, clip.dtype) == ((3, 3, 6, 6), torch.uint8)
    np.testing.assert_array_equal(clip.numpy(), frames[:, 2:8, 5:11].transpose(3, 0, 1, 2))
    clip.zero_()
    assert frames.any()  # the clip has its own memory


def test_a_flip_swaps_left_and_right_of_the_cut_square():
    frames = np.random.default_rng(0).integers(256, size=(3, 9, 12, 3), dtype=np.uint8)
    clip = crop_and_resize(frames, (2, 5, 6, 6), 6, flip=True)
    assert (clip.dtype, clip.is_contiguous()) == (torch.uint8, True)
    np.testing.assert_array_equal(clip.numpy(), frames[:, 2:8, 10:4:-1].transpose(3, 0, 1, 2))
    resized = crop_and_resize(frames, (2, 5, 6, 6), 4)
    assert torch.equal(crop_and_resize(frames, (2, 5, 6, 6), 4, flip=True), resized.flip(-1))


def test_halving_averages_and_every_frame_is_cut_alike():
    frame = np.arange(0, 240, 15, dtype=np.uint8).reshape(4, 4)  # rows 0 15 30 45, 60 75 ...
    frames = np.repeat(np.repeat(frame, 2, 0), 2, 1)[None, :, :, None].repeat(2, 0).repeat(3, 3)  # (2, 8, 8, 3)
    clip = crop_and_resize(frames, (0, 0, 8, 8), 4)
    assert torch.equal(clip[:, 0], clip[:, 1])
    # Antialiased bilinear weights at 2:1 are 1/8 3/8 3/8 1/8: of 0 0 15 15 30 30 45 45, pixel 1 is 15 again.
    assert clip[0, 0, 1, 1] == 75
    assert clip[0, 0, 2, 2] == 150


@pytest.mark.parametrize("shape", [(1, 5, 7, 3), (2, 300, 40, 3)])
def test_any_size_of_frame_becomes_a_uint8_square(shape):
    flat = np.full(shape, 77, np.uint8)
    clip = crop_and_resize(flat, centre_crop_box(*shape[1:3]), 16)
    assert (clip.shape, clip.dtype, clip.is_contiguous()) == ((3, shape[0], 16, 16), torch.uint8, True)
    assert (clip == 77).all()


def _between_the_nearest_four(image: np.ndarray, size: int) -> np.ndarray:
    """Resize (H, W) to a square by the mean of the nearest four pixels, weighted by their distance."""
    out = np.empty((size, size))
    for i, j in np.ndindex(out.shape):
        y, x = ((k + 0.5) * n / size - 0.5 for k, n in zip((i, j), image.shape, strict=True))
        top, left = int(np.floor(y)), int(np.floor(x))
        rows = [np.clip(row, 0, image.shape[0] - 1) for row in (top, top + 1)]
        columns = [np.clip(column, 0, image.shape[1] - 1) for column in (left, left + 1)]
        weights = np.outer((top + 1 - y, y - top), (left + 1 - x, x - left))
        out[i, j] = (weights * image[np.ix_(rows, columns)]).sum()
    return out


def test_without_antialiasing_a_pixel_is_the_mean_of_the_nearest_four():
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    resized = crop_and_resize(frames, (4, 2, 36, 30), 8, antialias=False).numpy()  # (C, T, H, W)
    for channel, frame in np.ndindex(3, 2):
        expected = _between_the_nearest_four(frames[frame, 4:, 2:32, channel].astype(float), 8)
        assert np.abs(resized[channel, frame] - expected).max() <= 1  # of 255; eight-bit weights round
    smooth = crop_and_resize(frames, (4, 2, 36, 30), 8).numpy()
    assert smooth.std() < 0.5 * resized.std()  # of noise, a mean over many pixels keeps less
