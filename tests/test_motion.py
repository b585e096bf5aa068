"""Motion of tokens and lift, against numbers computed by hand."""

import pytest
import torch

from tats_gym.masks import random_ids
from tats_gym.motion import lift, token_motion
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=6, size=4, tubelet_size=2, patch_size=2, visible=3)
"""3 x 2 x 2 tokens of 24 values."""


def still_clips(count=1):
    """Clips whose frames are all the same, and whose tokens are not."""
    frame = torch.arange(count * 3 * 16, dtype=torch.uint8).reshape(count, 3, 1, 4, 4)
    return frame.repeat(1, 1, 6, 1, 1)


def test_a_still_clip_has_no_motion():
    motion = token_motion(GRID.shape, still_clips(2))
    assert (motion.shape, motion.dtype) == ((2, 12), torch.float32)
    assert motion.count_nonzero() == 0


def test_a_token_that_changes_moves_then_and_as_it_changes_back():
    clips = still_clips(2)
    clips[1, :, 2:4, 2:, :2] += 51  # second tubelet, lower left: token 4 + 2
    motion = token_motion(GRID.shape, clips)
    expected = torch.zeros(2, 3, 4)
    expected[1, :, 2] = 51 / 255  # the first tubelet is compared with the second
    torch.testing.assert_close(motion, expected.flatten(1))


def test_the_first_tubelet_is_compared_with_the_one_after_it():
    clips = still_clips()
    clips[0, :, 4:, :2, 2:] += 51  # the last tubelet, upper right
    assert token_motion(GRID.shape, clips).nonzero().tolist() == [[0, 8 + 1]]
    clips = still_clips()
    clips[0, :, :2, :2, 2:] += 51  # the first tubelet, upper right
    assert token_motion(GRID.shape, clips).nonzero().tolist() == [[0, 1], [0, 4 + 1]]


def test_motion_is_the_root_mean_square_over_a_tokens_values():
    clips = torch.zeros(1, 3, 6, 4, 4, dtype=torch.uint8)
    clips[0, 0, 4, 0, 0] = 255
    clips[0, 1, 5, 1, 1] = 255
    assert token_motion(GRID.shape, clips)[0, 8].item() == pytest.approx((2 / 24) ** 0.5)


def test_a_fall_is_as_much_motion_as_a_rise():
    clips = torch.zeros(1, 3, 6, 4, 4, dtype=torch.uint8)
    clips[:, :, 2:4] = 255
    torch.testing.assert_close(token_motion(GRID.shape, clips), torch.ones(1, 12))


def test_clips_without_two_tubelets_or_of_another_type_are_refused():
    with pytest.raises(ValueError, match=r"at least two tubelets, got tokens of the shape \(1, 2, 2\)"):
        token_motion((1, 2, 2), still_clips()[:, :, :2])
    with pytest.raises(ValueError, match=r"divide into tokens of the shape \(3, 2, 2\), got clips \(1, 3, 5, 4, 4\)"):
        token_motion(GRID.shape, still_clips()[:, :, :5])
    with pytest.raises(TypeError, match=r"clips must be uint8, got torch\.float32"):
        token_motion(GRID.shape, still_clips() / 255)


def test_lift_by_hand():
    values = torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 4.0]])
    torch.testing.assert_close(lift(values, torch.tensor([[3, 2], [0, 1]])), torch.tensor([1.5, 0.0]))
    torch.testing.assert_close(lift(values, torch.tensor([[0], [3]])), torch.tensor([1 / 3, 4.0]))
    assert lift(values, torch.arange(4).expand(2, 4)).tolist() == [1.0, 1.0]


def test_uniform_masks_have_a_lift_of_one():
    generator = torch.Generator().manual_seed(0)
    ids = random_ids(20_000, 6, 2, generator=generator)
    values = torch.rand(1, 6, generator=generator).expand(20_000, 6)
    assert lift(values, ids).mean().item() == pytest.approx(1, abs=0.01)


def test_a_clip_without_any_value_has_no_lift():
    ratios = lift(torch.tensor([[0.0, 0.0], [1.0, 3.0]]), torch.tensor([[1], [1]]))
    assert ratios.isnan().tolist() == [True, False]
    assert ratios[1] == 1.5
