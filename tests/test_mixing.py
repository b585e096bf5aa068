"""Mixed clips hold the shares that their labels name."""

import numpy as np
import pytest
import torch

from tats_gym.finetune.mixing import MixConfig, cut_box, mix, smooth_targets

PLAIN = {"smoothing": 0.0}


def flat_clips(*levels, frames=3, height=10, width=20):
    """Clips of one level each."""
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None, None].expand(-1, 3, frames, height, width)


def mixed(clips, labels, num_classes=4, seed=0, **settings):
    return mix(clips, torch.tensor(labels), num_classes, MixConfig(**settings), np.random.default_rng(seed))


def test_smoothing_by_hand():
    targets = smooth_targets(torch.tensor([2, 0]), 4, 0.1)
    assert targets[0].tolist() == pytest.approx([0.025, 0.025, 0.925, 0.025])
    assert targets[1].tolist() == pytest.approx([0.925, 0.025, 0.025, 0.025])
    assert targets.dtype == torch.float32


def test_without_mixup_and_cutmix_clips_stay_and_labels_are_smoothed():
    clips = flat_clips(7, 9)
    pixels, targets = mixed(clips, [2, 0], mixup=0, cutmix=0)
    assert torch.equal(pixels, clips.float())
    assert torch.equal(targets, smooth_targets(torch.tensor([2, 0]), 4, 0.1))


def test_mixup_weighs_pixels_and_labels_alike():
    clips = flat_clips(0, 100, 200)
    weights = []
    for seed in range(300):
        pixels, targets = mixed(clips, [0, 1, 2], seed=seed, cutmix=0, **PLAIN)
        kept = float(targets[0, 0])
        weights.append(kept)
        assert (pixels.dtype, targets.dtype) == (torch.float32, torch.float32)
        torch.testing.assert_close(pixels[0], torch.full_like(pixels[0], 200 * (1 - kept)))
        torch.testing.assert_close(pixels[2], torch.full_like(pixels[2], 200 * kept))
        torch.testing.assert_close(pixels[1], clips[1].float())  # it is its own partner
        torch.testing.assert_close(
            targets, torch.tensor([[kept, 0, 1 - kept, 0], [0, 1, 0, 0], [1 - kept, 0, kept, 0]])
        )
    # Beta(0.8, 0.8) has mean 1/2 and variance 1 / (4 * 2.6).
    assert np.mean(weights) == pytest.approx(0.5, abs=4 * 0.31 / 300**0.5)
    assert np.var(weights) == pytest.approx(1 / 10.4, abs=0.02)


def test_cutmix_replaces_one_box_of_every_frame_by_the_share_that_labels_lose():
    clips = flat_clips(10, 250)
    for seed in range(100):
        pixels, targets = mixed(clips, [3, 1], seed=seed, mixup=0, **PLAIN)
        foreign = pixels[0] == 250
        assert torch.equal(foreign, pixels[1] == 10)
        assert torch.equal(foreign, foreign[:1, :1].expand_as(foreign))  # in every channel and frame
        share = foreign[0, 0].float().mean().item()
        assert targets[0].tolist() == pytest.approx([0, share, 0, 1 - share], abs=1e-6)
        assert targets[1].tolist() == pytest.approx([0, 1 - share, 0, share], abs=1e-6)
        rows, columns = foreign[0, 0].any(1).sum().item(), foreign[0, 0].any(0).sum().item()
        assert rows * columns == foreign[0, 0].sum()  # a box


class Fixed:
    """Draws the numbers that it is given."""

    def __init__(self, *numbers):
        self.numbers = iter(numbers)

    def integers(self, _):
        return next(self.numbers)


@pytest.mark.parametrize(
    ("kept", "middle", "expected"),
    [
        (0.75, (6, 10), ((4, 9), (5, 15))),  # half of 10 rows and of 20 columns
        (0.75, (0, 19), ((0, 3), (14, 20))),  # cut off at the frame
        (0.0, (5, 10), ((0, 10), (0, 20))),
        (1.0, (5, 10), ((5, 5), (10, 10))),
    ],
)
def test_boxes_by_hand(kept, middle, expected):
    rows, columns = cut_box(10, 20, kept, Fixed(*middle))
    assert ((rows.start, rows.stop), (columns.start, columns.stop)) == expected


def test_settings_choose_between_mixup_cutmix_and_neither():
    clips = flat_clips(0, 200)
    kinds = []
    for seed in range(400):
        pixels, targets = mixed(clips, [0, 1], seed=seed, probability=0.5, switch=0.25)
        levels = pixels[0].unique().tolist()
        kinds.append(
            "none" if levels == [0] and targets[0, 0] > 0.92 else "cutmix" if set(levels) <= {0, 200} else "mixup"
        )
        torch.testing.assert_close(targets.sum(1), torch.ones(2))
    assert kinds.count("none") == pytest.approx(200, abs=40)  # 4 deviations of 10, and boxes without a pixel
    assert kinds.count("cutmix") == pytest.approx(50, abs=27)
    assert kinds.count("mixup") == pytest.approx(150, abs=39)


def test_a_batch_of_one_clip_stays_as_it_is():
    clips = torch.randint(256, (1, 3, 2, 8, 8), dtype=torch.uint8)
    for seed in range(10):
        pixels, targets = mixed(clips, [3], seed=seed)
        torch.testing.assert_close(pixels, clips.float())
        assert targets[0].tolist() == pytest.approx([0.025, 0.025, 0.025, 0.925])


def test_mixing_repeats_with_its_seed_and_does_not_change_its_inputs():
    clips = torch.randint(256, (4, 3, 2, 8, 8), dtype=torch.uint8)
    for given in (clips, clips.float()):
        before, state = given.clone(), torch.get_rng_state()
        one, two = (mixed(given, [0, 1, 2, 3], seed=5, mixup=0) for _ in range(2))
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
        assert torch.equal(given, before)
        assert torch.equal(torch.get_rng_state(), state)
        assert 0 <= one[0].min() <= one[0].max() <= 255


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixup": -1}, "mixup must not be negative, got -1"),
        ({"cutmix": -0.5}, "cutmix must not be negative, got -0.5"),
        ({"probability": 2}, r"probability must lie in \[0, 1\], got 2"),
        ({"switch": -1}, r"switch must lie in \[0, 1\], got -1"),
        ({"smoothing": 1}, r"smoothing must lie in \[0, 1\), got 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MixConfig(**settings)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 3, 8, 8\) and \(2,\)"):
        mixed(torch.zeros(2, 3, 8, 8), [0, 1])
    with pytest.raises(ValueError, match=r"and \(1,\)"):
        mixed(flat_clips(1, 2), [0])
