"""V-JEPA's masks: their blocks by enumeration, and the tokens that make K exact by hand."""

import math
from collections import Counter

import pytest
import torch

from tats_gym.agents.peers import jepa
from tats_gym.agents.peers.jepa import JEPAConfig, JEPAPolicy, times_covered
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.masks import mask_from_ids
from tats_gym.tokens import TokenGrid


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _policy(grid, blocks="both"):
    length = grid.num_tokens
    spaces = TokenBox((length, 8), grid.shape), Subset(length, grid.num_visible)
    return JEPAPolicy(*spaces, config=JEPAConfig(blocks=blocks))


def test_a_block_lies_at_every_place_with_equal_chances():
    covered = times_covered(4, 4, 9000, _generator(), number=1, scale=0.25)  # 2 x 2 places at any aspect ratio
    places = [
        {4 * (top + row) + left + column for row in (0, 1) for column in (0, 1)}
        for top in range(3)
        for left in range(3)
    ]
    found = Counter(tuple(row.nonzero()[:, 0].tolist()) for row in covered)
    assert found.keys() == {tuple(sorted(place)) for place in places}
    for count in found.values():
        assert count == pytest.approx(1000, abs=5 * 30)  # a standard deviation of 30


def _sizes(area):
    """Heights and widths of the blocks of an area in a frame of 14 x 14, over the range of aspect ratios."""
    ratios = [0.75 + 0.75 * step / 10_000 for step in range(10_001)]
    return {(min(14, round(math.sqrt(area * ratio))), min(14, round(math.sqrt(area / ratio)))) for ratio in ratios}


@pytest.mark.parametrize(("kind", "area"), [("short", 29), ("long", 137)])  # 15 % and 70 % of 196
def test_blocks_have_the_published_sizes(kind, area):
    number, scale = jepa.BLOCKS[kind]
    single = times_covered(14, 14, 3000, _generator(), number=1, scale=scale).view(-1, 14, 14)
    heights, widths = single.any(2).sum(1), single.any(1).sum(1)
    assert single.sum((1, 2)).equal(heights * widths)  # rectangles
    assert set(zip(heights.tolist(), widths.tolist(), strict=True)) == _sizes(area)
    union = times_covered(14, 14, 3000, _generator(), number=number, scale=scale)
    sizes = {height * width for height, width in _sizes(area)}
    assert {total / number for total in union.sum(1).tolist()} <= sizes  # all blocks of a mask have one size


def test_there_are_eight_short_or_two_long_blocks():
    assert jepa.BLOCKS == {"short": (8, 0.15), "long": (2, 0.7)}  # arXiv 2404.08471


@pytest.mark.parametrize(
    ("visible", "whole", "partial"),
    [
        (3, [0, 3], {(0, 1), (3, 1)}),  # of two uncovered places one at both times, the other at one
        (4, [0, 3], set()),
        (5, [0, 3], {(2, 1)}),  # one block covers place 2
        (7, [0, 2, 3], {(1, 1)}),  # two cover place 1
    ],
)
def test_places_that_the_fewest_blocks_cover_are_shown_until_k_tokens_are(monkeypatch, visible, whole, partial):
    grid = TokenGrid(frames=4, size=32, visible=visible)  # 2 x 2 x 2 tokens
    monkeypatch.setattr(jepa, "times_covered", lambda *_, **__: torch.tensor([[0, 2, 1, 0]]).expand(400, -1))
    ids = _policy(grid, "short").rule(grid.shape, grid.num_visible, 400, _generator())
    times = (~mask_from_ids(ids, 8)).view(-1, 2, 4).sum(1)  # at how many of two times each place is shown
    seen = Counter()
    for row in times.tolist():
        full = [place for place, count in enumerate(row) if count == 2]
        half = [(place, 1) for place, count in enumerate(row) if count == 1]
        assert set(full) <= set(whole)
        assert len(half) == visible % 2
        seen.update(half)
    assert set(seen) == partial
    assert all(count == pytest.approx(400 / len(partial), abs=50) for count in seen.values())
    first = (~mask_from_ids(ids, 8)).view(-1, 2, 4)[:, 0].float().mean(0)  # a place that fills up is shown at any time
    torch.testing.assert_close(first, times.float().mean(0) / 2, atol=0.1, rtol=0)


def test_masks_of_either_kind_have_equal_chances(monkeypatch):
    grid = TokenGrid(frames=4, size=32, visible=2)

    def covered(height, width, batch_size, generator, *, number, scale):
        only = 0 if (number, scale) == (8, 0.15) else 3
        return (torch.arange(4) != only).int().expand(batch_size, -1)

    monkeypatch.setattr(jepa, "times_covered", covered)
    for blocks, share in (("short", 1.0), ("long", 0.0), ("both", 0.5)):
        ids = _policy(grid, blocks).rule(grid.shape, grid.num_visible, 1000, _generator()).sort(1).values
        assert {tuple(row) for row in ids.tolist()} <= {(0, 4), (3, 7)}
        assert (ids[:, 0] == 0).float().mean().item() == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("blocks", ["short", "long", "both"])
def test_places_are_shown_at_all_times_but_for_the_last_one(blocks):
    grid = TokenGrid()
    ids = _policy(grid, blocks).rule(grid.shape, grid.num_visible, 100, _generator())
    times = (~mask_from_ids(ids, grid.num_tokens)).view(-1, 8, 196).sum(1)
    assert [sorted(row)[-10:] for row in times.tolist()] == [[6] + 9 * [8]] * 100  # 78 = 9 * 8 + 6


def test_other_kinds_are_refused():
    with pytest.raises((TypeError, ValueError), match="blocks"):
        JEPAConfig(blocks="middle")
