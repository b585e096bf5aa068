"""RandAugment does the same to every frame, and erasing puts noise into one box of all of them."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import functional

from tats_gym.clips.distortions import DistortionError, RandAugment, erase
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tests.video_files import noise_frames

POLICY = "rand-m9-n2-mstd0.5-inc1"


def test_every_frame_is_changed_alike_and_clips_are_not():
    frames = np.repeat(noise_frames(1, 24, 32), 5, axis=0)
    augment, rng = RandAugment(POLICY), np.random.default_rng(0)
    clips = [augment(frames, rng) for _ in range(200)]
    assert all((clip == clip[:1]).all() for clip in clips)
    assert all((clip.shape, clip.dtype) == (frames.shape, np.uint8) for clip in clips)
    unchanged = sum((clip == frames).all() for clip in clips) / 200
    assert unchanged == pytest.approx(0.25, abs=0.15)  # each of two operations is left out half the time
    assert len({clip.tobytes() for clip in clips}) > 120


def test_a_translation_moves_every_frame_as_far_and_to_the_same_side():
    frames = np.zeros((2, 8, 200, 3), np.uint8)
    frames[0, :, 100], frames[1, :, 95] = 255, 255
    augment = RandAugment("rand-m10-n1-p1")
    augment._augment.ops = [op for op in augment._augment.ops if op.name == "TranslateXRel"]
    moved = set()
    for seed in range(20):
        changed = augment(frames, np.random.default_rng(seed))[:, 4, :, 0]
        moved.add(tuple(int(row.argmax()) for row in changed))
        assert [(row == 128).sum() for row in changed] == [90, 90]  # the uncovered part
    assert moved == {(10, 5), (190, 185)}  # 0.45 of 200 columns


def test_operations_are_timms():
    frames, rng = noise_frames(3, 24, 32), np.random.default_rng(5)
    changed = RandAugment("rand-m9-n3-p1-mstd0.5-inc1")(frames, rng)
    seed = int(np.random.default_rng(5).integers(2**32))
    timm = rand_augment_transform("rand-m9-n3-p1-mstd0.5-inc1", {"interpolation": Image.Resampling.BICUBIC})
    for frame, found in zip(frames, changed, strict=True):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        np.testing.assert_array_equal(found, np.asarray(timm(Image.fromarray(frame))))


def test_the_global_random_states_stay():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    RandAugment(POLICY)(noise_frames(2), np.random.default_rng(0))
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_one_box_of_all_frames_becomes_noise():
    rng = np.random.default_rng(0)
    shares, shapes, erased = [], [], []
    for _ in range(200):
        clip = torch.full((3, 4, 60, 60), 7, dtype=torch.uint8)
        erase(clip, rng)
        touched = (clip != 7).any(0)  # (T, H, W); noise is 7 in all channels once in a million
        assert (touched == touched[:1]).float().mean() > 0.999
        rows, columns = touched[0].any(1).nonzero(), touched[0].any(0).nonzero()
        tall, wide = (int(found.max() - found.min()) + 1 for found in (rows, columns))
        assert touched.float().mean().item() == pytest.approx(tall * wide / 3600, rel=1e-3)
        shares.append(tall * wide / 3600)
        shapes.append(wide / tall)
        erased.append(clip[:, touched])
    assert 0.015 < min(shares) < 0.05
    assert 0.3 < max(shares) < 0.345
    assert 0.25 < min(shapes) < 0.5
    assert 2 < max(shapes) < 3.8
    noise = torch.cat(erased, 1).float() / 255
    for channel, mean, deviation in zip(noise, IMAGENET_MEAN, IMAGENET_STD, strict=True):
        assert channel.mean().item() == pytest.approx(mean, abs=0.01)
        assert channel.std().item() == pytest.approx(deviation, abs=0.02)  # a little is clipped
    assert not torch.equal(clip[:, 0], clip[:, 1])  # each frame has its own


def test_erasing_repeats_with_its_seed():
    one, two = torch.zeros(2, 3, 2, 20, 20, dtype=torch.uint8)
    erase(one, np.random.default_rng(1))
    erase(two, np.random.default_rng(1))
    assert torch.equal(one, two)
    assert one.any()


SIDE = 32
SLOPE = np.mgrid[:SIDE, :SIDE].transpose(1, 2, 0) @ [[3, 0, 3], [0, 2, 2]]
"""(H, W, 3): rows tell themselves in red, columns in green, both in blue; exact under bicubic interpolation."""

MAPS = {
    "Rotate": lambda level: turned(np.radians(3 * level)),
    "ShearX": lambda level: (1, 0.03 * level, 0, 0, 1, 0),
    "ShearY": lambda level: (1, 0, 0, 0.03 * level, 1, 0),
    "TranslateXRel": lambda level: (1, 0, 0.045 * level * SIDE, 0, 1, 0),
    "TranslateYRel": lambda level: (1, 0, 0, 0, 1, 0.045 * level * SIDE),
}
"""Operation to where it finds (x, y): 30 degrees, a slope of .3 and .45 of the side at level 10."""

COLOURS = {
    "AutoContrast": lambda clip, level: functional.autocontrast(clip),
    "Equalize": lambda clip, level: functional.equalize(clip),
    "Invert": lambda clip, level: functional.invert(clip),
    "Posterize": lambda clip, level: highest_bits(clip, int(0.4 * abs(level))),
    "PosterizeIncreasing": lambda clip, level: highest_bits(clip, 4 - int(0.4 * abs(level))),
    "Solarize": lambda clip, level: inverted_from(clip, int(25.6 * abs(level))),
    "SolarizeIncreasing": lambda clip, level: inverted_from(clip, 256 - int(25.6 * abs(level))),
    "SolarizeAdd": lambda clip, level: torch.where(clip < 128, clip + int(11 * abs(level)), clip),
    "Color": lambda clip, level: functional.adjust_saturation(clip, 0.1 + 0.18 * abs(level)),
    "ColorIncreasing": lambda clip, level: functional.adjust_saturation(clip, 1 + 0.09 * level),
    "Contrast": lambda clip, level: functional.adjust_contrast(clip, 0.1 + 0.18 * abs(level)),
    "ContrastIncreasing": lambda clip, level: functional.adjust_contrast(clip, 1 + 0.09 * level),
    "Brightness": lambda clip, level: functional.adjust_brightness(clip, 0.1 + 0.18 * abs(level)),
    "BrightnessIncreasing": lambda clip, level: functional.adjust_brightness(clip, 1 + 0.09 * level),
    "Sharpness": lambda clip, level: functional.adjust_sharpness(clip, 0.1 + 0.18 * abs(level)),
    "SharpnessIncreasing": lambda clip, level: functional.adjust_sharpness(clip, 1 + 0.09 * level),
}
"""Operation to its result on a clip (T, C, H, W): torchvision's for tensors, which do not go through Pillow."""


def turned(angle):
    """The map of a turn about the middle."""
    cos, sin, middle = np.cos(angle), np.sin(angle), SIDE / 2
    return cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - cos - sin)


def highest_bits(clip, bits):
    """Keep so many of eight bits, none to all."""
    return clip.int() // 2 ** (8 - bits) * 2 ** (8 - bits)


def inverted_from(clip, threshold):
    """Invert the bright pixels."""
    return torch.where(clip.int() < threshold, clip, 255 - clip)


def moved_as(found, a, b, c, d, e, f):
    """Whether a changed slope has the values that an affine map says, where these come from well inside of it."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    row, column = d * columns + e * rows + f - 0.5, a * columns + b * rows + c - 0.5
    inside = np.logical_and.reduce([each > 2 for each in (row, column, SIDE - 1 - row, SIDE - 1 - column)])
    assert inside.mean() > 0.2
    expected = np.stack((3 * row, 2 * column, 3 * row + 2 * column), -1)
    return np.abs(found - expected)[inside].max() < 1.5  # Pillow cuts off the digits after the point


def results(name, level, frames):
    """Frames after an operation at a level, in twelve draws of its sign."""
    augment = RandAugment(f"rand-m{level}-n1-p1-inc{name.endswith('Increasing'):d}")
    augment._augment.ops = [op for op in augment._augment.ops if op.name == name]
    return [augment(frames, np.random.default_rng(seed)) for seed in range(12)]


@pytest.mark.parametrize("level", range(11))
@pytest.mark.parametrize("name", MAPS)
def test_every_operation_that_moves_pixels_moves_them_as_far_as_its_level_says(name, level):
    found = results(name, level, SLOPE[None].astype(np.uint8))
    sides = [[moved_as(frames[0].astype(int), *MAPS[name](sign * level)) for sign in (-1, 1)] for frames in found]
    assert all(any(side) for side in sides)
    assert np.all(np.any(sides, axis=0))  # both signs came


@pytest.mark.parametrize("level", range(11))
@pytest.mark.parametrize("name", COLOURS)
def test_every_operation_that_changes_colours_is_torchvisions_at_its_level(name, level):
    frames = np.concatenate([noise_frames(1, 24, 32), 80 + noise_frames(1, 24, 32) // 4])
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, C, H, W)
    expected = [COLOURS[name](clip, sign * level).permute(0, 2, 3, 1).int().numpy() for sign in (-1, 1)]
    changes = results(name, level, frames)
    sides = [[np.abs(changed - each).max() <= 2 for each in expected] for changed in changes]
    assert all(any(side) for side in sides)
    assert np.all(np.any(sides, axis=0))


@pytest.mark.parametrize("policy", ["rand-m20-n1-p1-mmax30-inc1", "rand-m0-n1-p1", "rand-m30-n1-p1-mmax30-t3aw-inc1"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (24, 32)])
def test_no_operation_fails_beyond_its_levels_or_in_a_small_picture(policy, shape):
    augment = RandAugment(policy)
    for op in augment._augment.ops:
        augment._augment.ops, augment._augment.choice_weights = [op], None
        for seed in range(4):
            assert augment(noise_frames(1, *shape), np.random.default_rng(seed)).shape == (1, *shape, 3)


@pytest.mark.parametrize("policy", ["rand-m9.5", "rand-n40-tweights"])
def test_a_policy_that_timm_cannot_follow_is_refused_before_any_clip(policy):
    with pytest.raises(ValueError, match=f"randaug must be a policy that timm can follow, got '{policy}': "):
        RandAugment(policy)


def test_a_failing_operation_is_named_with_its_strength_and_lack_of_memory_is_not(monkeypatch):
    augment = RandAugment("rand-m10-n1-p1-inc1")
    augment._augment.ops = [op for op in augment._augment.ops if op.name == "SolarizeIncreasing"]
    for raised, expected in ((TypeError("no"), DistortionError), (MemoryError("full"), MemoryError)):
        monkeypatch.setattr("PIL.ImageOps.solarize", fails_with(raised))
        with pytest.raises(expected, match=r"SolarizeIncreasing\(0,\): TypeError\('no'\)|full"):
            augment(noise_frames(1), np.random.default_rng(0))


def fails_with(error):
    def fail(*_):
        raise error

    return fail
