"""The two forms of a mask, and the masks that are not learned."""

import math
from collections import Counter

import pytest
import torch

from tats_gym import masks
from tats_gym.masks import (
    block_ids,
    every_place,
    frame_ids,
    hidden_by,
    hidden_ids,
    mask_from_ids,
    most_moving_ids,
    random_ids,
    tube_ids,
    uniform_ids,
    weighted_ids,
)
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=6, size=32, tubelet_size=2, patch_size=16, visible=5)  # 3 x 2 x 2 tokens


def test_the_two_forms_agree_by_hand():
    mask = mask_from_ids(torch.tensor([[3, 0], [1, 2]]), 4)
    assert mask.tolist() == [[False, True, True, False], [True, False, False, True]]
    assert hidden_ids(mask, 2).tolist() == [[1, 2], [0, 3]]
    assert hidden_by(torch.tensor([[3, 0], [1, 2]]), 4).tolist() == [[1, 2], [0, 3]]


def test_hidden_tokens_ascend_in_long_masks_too():
    ids = random_ids(8, 1568, 78, generator=torch.Generator().manual_seed(0))
    expected = [sorted(set(range(1568)) - set(row)) for row in ids.tolist()]
    assert hidden_by(ids, 1568).tolist() == expected


def test_random_ids_are_distinct_and_uniform():
    ids = random_ids(20_000, 6, 2, generator=torch.Generator().manual_seed(0))
    assert (ids[:, 0] != ids[:, 1]).all()
    share = torch.bincount(ids.flatten(), minlength=6) / len(ids)
    torch.testing.assert_close(share, torch.full((6,), 2 / 6), atol=0.015, rtol=0)


STILL = torch.zeros(4, 3, 6, 32, 32, dtype=torch.uint8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda generator: random_ids(4, 50, 5, generator=generator),
        lambda generator: weighted_ids(torch.ones(4, 50), 5, generator=generator),
        lambda generator: every_place(GRID.shape, 4, generator),
        lambda generator: uniform_ids(GRID.shape, GRID.num_visible, 4, generator),
        lambda generator: tube_ids((3, 4, 4), 6, 4, generator),
        lambda generator: frame_ids((16, 2, 2), 8, 4, generator),
        lambda generator: block_ids(GRID.shape, GRID.num_visible, 4, generator),
        lambda generator: most_moving_ids(GRID.shape, GRID.num_visible, STILL, generator),
    ],
)
def test_draws_come_from_their_generator_alone(draw):
    drawn = []
    for seed, elsewhere in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(elsewhere)
        drawn.append(draw(torch.Generator().manual_seed(seed)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_masks_lie_on_the_device_of_their_inputs():
    ids = random_ids(4, 50, 5, device="meta")
    assert ids.device.type == "meta"
    assert mask_from_ids(ids, 50).device.type == "meta"
    assert weighted_ids(torch.ones(4, 50, device="meta"), 5).device.type == "meta"
    assert random_ids(4, 50, 5).device.type == "cpu"


def test_weighted_ids_are_drawn_in_proportion():
    weights = torch.tensor([[3.0, 1.0, 0.0, 4.0]]).expand(20_000, -1)
    ids = weighted_ids(weights, 3, generator=torch.Generator().manual_seed(0))
    assert not (ids == 2).any()  # three others have a weight
    first = torch.bincount(ids[:, 0], minlength=4) / len(ids)
    torch.testing.assert_close(first, torch.tensor([3 / 8, 1 / 8, 0, 4 / 8]), atol=0.015, rtol=0)
    after_the_last = ids[ids[:, 0] == 3, 1]
    share = (after_the_last == 0).float().mean()
    torch.testing.assert_close(share, torch.tensor(3 / 4), atol=0.015, rtol=0)
    assert set(weighted_ids(weights[:1], 4)[0].tolist()) == {0, 1, 2, 3}


def test_tokens_marked_as_first_come_first():
    first = torch.tensor([[False, True, False, True, False]]).expand(2_000, -1)
    weights = torch.tensor([[1e6, 1e-30, 1.0, 0.0, 1.0]]).expand(2_000, -1)
    ids = weighted_ids(weights, 3, first=first, generator=torch.Generator().manual_seed(0))
    assert (ids[:, :2].sort(1).values == torch.tensor([1, 3])).all()
    assert (ids[:, 2] == 0).float().mean() > 0.99


def test_every_place_by_its_definition():
    marked = every_place(GRID.shape, 600, torch.Generator().manual_seed(0))
    assert marked.shape == (600, 12)
    marked = marked.view(600, 3, 4)
    assert (marked.sum(1) == 1).all()
    assert (marked.any(2).sum(1) > 1).float().mean() > 0.9  # 3 of 81 lie in one tubelet
    torch.testing.assert_close(marked.float().mean(0), torch.full((3, 4), 1 / 3), atol=0.08, rtol=0)


def _shown(ids, grid):
    """Which tokens masks show: (B, t, h * w) bool."""
    t, h, w = grid.shape
    return (~mask_from_ids(ids, grid.num_tokens)).view(-1, t, h * w)


def test_tube_masks_are_those_of_videomae():
    grid = TokenGrid(visible=160)  # VideoMAE at a mask ratio of .9: 196 - int(.9 * 196) = 20 places in 8 tubelets
    shown = _shown(tube_ids(grid.shape, grid.num_visible, 500, torch.Generator().manual_seed(0)), grid)
    assert (shown.sum(2) == 20).all()
    assert (shown == shown[:, :1]).all()
    share = shown[:, 0].float().mean(0)
    torch.testing.assert_close(share, torch.full((196,), 20 / 196), atol=0.07, rtol=0)
    assert len({tuple(row) for row in shown[:, 0].int().tolist()}) == 500


def test_frame_masks_show_whole_tubelets():
    grid = TokenGrid(visible=2 * 196)
    shown = _shown(frame_ids(grid.shape, grid.num_visible, 300, torch.Generator().manual_seed(0)), grid)
    assert (shown.all(2) == shown.any(2)).all()
    assert (shown[..., 0].sum(1) == 2).all()
    torch.testing.assert_close(shown[..., 0].float().mean(0), torch.full((8,), 2 / 8), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("make", "visible", "message"),
    [
        (tube_ids, 156, "each of the 8 tubelets: visible must be a multiple of 8, got 156 .*nearest are 152 and 160"),
        (frame_ids, 78, "each of the 196 tokens: visible must be a multiple of 196, got 78 .*nearest are 196"),
        (frame_ids, 1567, r"got 1567 of 1568; the nearest are 1372 \(--visible\)"),  # not all of them, 8 * 196
    ],
)
def test_tokens_that_cannot_be_shown_evenly_are_refused(make, visible, message):
    with pytest.raises(ValueError, match=message):
        make((8, 14, 14), visible, 1)


def _parts_covered(length):
    """Each part of a line that a block may cover, with its probability: sides alike, then places over the ends."""
    sides = range(max(1, round(length / 4)), max(1, round(3 * length / 4)) + 1)
    parts = Counter()
    for side in sides:
        starts = range(1 - side, length)
        for start in starts:
            parts[max(0, start), min(length, start + side)] += 1 / len(sides) / len(starts)
    return parts


@pytest.mark.parametrize("length", [1, 2, 3, 8])
def test_blocks_cover_the_same_tokens_as_an_enumeration(length):
    rows = masks._covered(length, 200, 200, torch.Generator().manual_seed(0)).flatten(0, 1).int()
    changes = rows.diff(dim=1, prepend=torch.zeros(len(rows), 1), append=torch.zeros(len(rows), 1))
    assert (changes.abs().sum(1) == 2).all()  # one interval each
    found = Counter(zip(changes.argmax(1).tolist(), changes.argmin(1).tolist(), strict=True))
    expected = _parts_covered(length)
    assert found.keys() == expected.keys()
    for part, probability in expected.items():
        assert found[part] / len(rows) == pytest.approx(probability, abs=5 * (probability / len(rows)) ** 0.5)


@pytest.mark.parametrize("visible", [1, 3, 9])
def test_blocks_are_hidden_one_after_another(monkeypatch, visible):
    grid, drawn, draw = TokenGrid(frames=6, size=32, visible=visible), [], masks._covered

    def covered(*args):
        drawn.append(draw(*args))
        return drawn[-1]

    monkeypatch.setattr(masks, "_covered", covered)
    ids = block_ids(grid.shape, grid.num_visible, 20, torch.Generator().manual_seed(0))
    number = drawn[0].shape[1]
    drawn = [axis.tolist() for axis in drawn]
    left = 0.1 * visible / 12  # by all of the blocks, where each hides a 27th, and no more blocks than that takes
    assert math.exp(-number / 27) <= left < math.exp(-(number - 1) / 27)
    for clip in range(20):
        left = {(t, h, w) for t in range(3) for h in range(2) for w in range(2)}
        for block in range(number):
            hit = {place for place in left if all(axis[clip][block][at] for axis, at in zip(drawn, place, strict=True))}
            if len(left) - len(hit) < visible:
                break
            left -= hit
        shown = {(token // 4, token // 2 % 2, token % 2) for token in ids[clip].tolist()}
        assert shown <= left
        assert left - hit <= shown


def test_at_most_255_blocks_are_drawn(monkeypatch):
    drawn, draw = [], masks._covered
    monkeypatch.setattr(masks, "_covered", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    grid = TokenGrid(visible=1)  # 27 ln 15,680 is 260.8
    assert block_ids(grid.shape, grid.num_visible, 2, torch.Generator().manual_seed(0)).shape == (2, 1)
    assert [axis.shape for axis in drawn] == [(2, 255, length) for length in grid.shape]


def test_the_most_moving_tokens_by_hand():
    clips = torch.full((1, 3, 6, 32, 32), 100, dtype=torch.uint8)  # 3 x 2 x 2 tokens
    clips[:, :, 4:, :16, 16:] = 150  # place 1 changes at the last tubelet
    clips[:, :, 2:, 16:, :16] = 110  # place 2 changes less, at the second
    assert most_moving_ids((3, 2, 2), 1, clips).tolist() == [[9]]
    assert set(most_moving_ids((3, 2, 2), 3, clips)[0].tolist()) == {9, 2, 6}  # the first tubelet counts as the second


def test_without_motion_any_token_is_shown():
    still = torch.zeros(300, 3, 6, 32, 32, dtype=torch.uint8)
    ids = most_moving_ids((3, 2, 2), 2, still, torch.Generator().manual_seed(0))
    share = torch.bincount(ids.flatten(), minlength=12) / len(ids)
    torch.testing.assert_close(share, torch.full((12,), 2 / 12), atol=0.08, rtol=0)


def test_the_least_motion_counts_more_than_chance():
    clips = torch.zeros(300, 3, 6, 32, 32, dtype=torch.uint8)
    clips[:, 0, 4, 0, 0] = 1  # one value of 1,536, by a 255th
    ids = most_moving_ids((3, 2, 2), 1, clips, torch.Generator().manual_seed(0))
    assert (ids == 8).all()


@pytest.mark.parametrize("mask_ratio", [0.95, 0.75, 0.3])
def test_block_masks_leave_patches_and_hide_every_token_alike(mask_ratio):
    grid = TokenGrid(mask_ratio=mask_ratio)
    shown = _shown(block_ids(grid.shape, grid.num_visible, 400, torch.Generator().manual_seed(0)), grid)
    assert (shown.sum((1, 2)) == grid.num_visible).all()
    by_place = shown.float().mean(0).unflatten(1, (14, 14))
    expected = torch.tensor(grid.num_visible / grid.num_tokens)
    for region in (by_place.mean(), by_place[:, 0, 0].mean(), by_place[:, 6:8, 6:8].mean(), by_place[0].mean()):
        torch.testing.assert_close(region, expected, atol=0.04, rtol=0)
    cube = shown.unflatten(2, (14, 14))
    both = (cube[..., 1:] & cube[..., :-1]).float().mean()
    correlation = (both - expected**2) / (expected - expected**2)  # of neighbours; 0 for uniform masks
    assert correlation > 0.3
