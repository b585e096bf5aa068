"""Running cells: against VideoMAE V2's queue of a 2 x 2 cell, and larger cells by hand."""

from collections import Counter, deque

import pytest
import torch

from tats_gym.agents.peers.running_cells import cell_ids, cell_side
from tats_gym.masks import mask_from_ids
from tats_gym.tokens import TokenGrid


def _shown(grid, count, seed=0):
    ids = cell_ids(grid.shape, grid.num_visible, count, torch.Generator().manual_seed(seed))
    return (~mask_from_ids(ids, grid.num_tokens)).view(-1, *grid.shape)


def _published(shown_in_a_cell, tubelets, side):
    """A queue of hidden and shown places that turns by one before each tubelet, from each of four starts."""
    masks = set()
    for start in range(4):
        queue = deque([False] * (4 - shown_in_a_cell) + [True] * shown_in_a_cell)
        queue.rotate(-start)
        mask = []
        for _ in range(tubelets):
            queue.rotate(-1)
            mask += [queue[2 * (row % 2) + column % 2] for row in range(side) for column in range(side)]
        masks.add(tuple(mask))
    return masks


@pytest.mark.parametrize("shown_in_a_cell", [1, 2, 3])
def test_cells_of_four_places_run_as_published(shown_in_a_cell):
    grid = TokenGrid(frames=10, size=64, visible=20 * shown_in_a_cell)  # 5 x 4 x 4
    found = Counter(tuple(row) for row in _shown(grid, 400).flatten(1).tolist())
    assert found.keys() == _published(shown_in_a_cell, 5, 4)
    assert all(count == pytest.approx(100, abs=45) for count in found.values())


@pytest.mark.parametrize(
    ("visible", "side"),
    [(1567, 2), (784, 2), (392, 2), (391, 3), (175, 3), (174, 4), (98, 4), (97, 5), (78, 5), (1, 40)],
)
def test_a_cell_is_the_smallest_that_shows_a_token(visible, side):
    assert cell_side(1568, visible) == side  # of 1,568: 1568 / 9 is 174.2, 1568 / 16 is 98, / 25 is 62.7


def test_the_rest_of_k_lies_at_the_next_place_of_random_cells():
    grid = TokenGrid(frames=20, size=96, visible=50)  # 10 x 6 x 6: 3 x 3 cells, four of them, one place each is 40
    shown = _shown(grid, 200)
    cells = shown.unfold(2, 3, 3).unfold(3, 3, 3).flatten(4)  # (B, t, 2, 2, 9)
    assert cells.sum(-1).unique().tolist() == [1, 2]
    for mask in cells[:50]:
        first = {start for start in range(9) if all(mask[time, ..., (start - time) % 9].all() for time in range(10))}
        (start,) = first
        for time in range(10):
            rest = set(mask[time].flatten(0, 1).any(0).nonzero()[:, 0].tolist()) - {(start - time) % 9}
            assert rest <= {(start + 1 - time) % 9}
    assert cells.sum((0, -1)).float().std() < 15  # 200 masks, in each cell and tubelet 250


def test_every_place_is_shown_alike_where_cells_fill_the_frame():
    assert cell_side(256, 32) == 3  # 4 x 8 x 8: 3 x 3 would not fill it, L / K = 8 takes them
    grid = TokenGrid(frames=8, size=128, visible=20)  # 4 x 4 cells: 16 at one place each, 4 at the next
    assert cell_side(grid.num_tokens, grid.num_visible) == 4
    share = _shown(grid, 6000).float().mean(0)
    torch.testing.assert_close(share, torch.full_like(share, 20 / 256), atol=0.02, rtol=0)
