"""RandAugment does the same to every frame, and erasing puts noise into one box of all of them."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from tats_gym.clips.distortions import RandAugment, erase
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
        assert [(row == 128).sum() for row in changed] == [90, 90]  # what is uncovered
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
