"""The token grid."""

import pytest
import torch

from tats_gym.tokens import TokenGrid


def test_the_papers_sizes():
    grid = TokenGrid()
    assert grid.shape == (8, 14, 14)
    assert (grid.num_tokens, grid.patch_values) == (1568, 1536)


@pytest.mark.parametrize(("mask_ratio", "visible"), [(0.85, 235), (0.9, 156), (0.95, 78), (0.75, 392)])
def test_visible_tokens_are_counted_as_adamae_does(mask_ratio, visible):
    grid = TokenGrid(mask_ratio=mask_ratio)
    assert grid.num_visible == visible
    assert grid.num_hidden == 1568 - visible


def test_a_ratio_that_floats_cannot_hold_is_not_rounded_down():
    assert TokenGrid(frames=16, size=80, mask_ratio=0.9).num_visible == 20  # 200 * (1 - .9) = 19.999...


def test_an_explicit_number_overrides_the_ratio():
    assert TokenGrid(visible=160).num_visible == 160


def test_cut_orders_tokens_frame_by_frame_and_values_channel_first():
    grid = TokenGrid(frames=4, size=32, visible=1)
    clip = torch.zeros(1, 3, 4, 32, 32)
    clip[0, 2, 3, 16, 31] = 7.0  # channel 2, second tubelet's second frame, lower row's first line, right column's end
    tokens = grid.cut(clip)
    assert tokens.shape == (1, 8, 1536)
    token, value = 4 + 2 + 1, 2 * 512 + 1 * 256 + 0 * 16 + 15
    assert tokens[0, token, value] == 7.0
    assert tokens.count_nonzero() == 1


def test_join_undoes_cut():
    grid = TokenGrid(frames=4, size=48, tubelet_size=2, patch_size=8)
    clips = torch.randint(0, 256, (2, *grid.clip_shape), dtype=torch.uint8)
    assert torch.equal(grid.join(grid.cut(clips)), clips)


@pytest.mark.parametrize(("frames", "size", "num_tokens"), [(2, 1, 2), (1, 2, 4), (3, 2, 12)])
def test_tokens_may_be_single_values(frames, size, num_tokens):
    grid = TokenGrid(frames=frames, size=size, tubelet_size=1, patch_size=1, visible=1)
    assert (grid.num_tokens, grid.patch_values) == (num_tokens, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_ratio": 0.0}, r"mask_ratio must lie in \(0, 1\), got 0.0"),
        ({"mask_ratio": 1.0}, r"mask_ratio must lie in \(0, 1\), got 1.0"),
        ({"mask_ratio": -3.0}, "mask_ratio must lie in"),
        ({"mask_ratio": 0.9999}, "at least one token must be visible"),
        ({"visible": 0}, "at least one token must be visible"),
        ({"visible": 1568}, "one hidden"),
        ({"frames": 15}, "frames must be a multiple of tubelet_size, got 15 and 2"),
        ({"size": 225}, "size must be a multiple of patch_size, got 225 and 16"),
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"size": 0}, "size must be at least 1, got 0"),
        ({"tubelet_size": 0}, "tubelet_size must be at least 1, got 0"),
        ({"patch_size": -16}, "patch_size must be at least 1, got -16"),
    ],
)
def test_impossible_geometry_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TokenGrid(**settings)


def test_clips_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"clips must be \(B, \(3, 16, 224, 224\)\), got \(1, 3, 8, 224, 224\)"):
        TokenGrid().cut(torch.zeros(1, 3, 8, 224, 224))
