"""The two forms of a mask, and uniform masks."""

import torch

from tats_gym.masks import every_place, hidden_ids, mask_from_ids, one_tubelet, random_ids, weighted_ids
from tats_gym.tokens import TokenGrid

GRID = TokenGrid(frames=6, size=32, tubelet_size=2, patch_size=16, visible=5)  # 3 x 2 x 2 tokens


def test_the_two_forms_agree_by_hand():
    mask = mask_from_ids(torch.tensor([[3, 0], [1, 2]]), 4)
    assert mask.tolist() == [[False, True, True, False], [True, False, False, True]]
    assert hidden_ids(mask, 2).tolist() == [[1, 2], [0, 3]]


def test_random_ids_are_distinct_and_uniform():
    ids = random_ids(20_000, 6, 2, generator=torch.Generator().manual_seed(0))
    assert (ids[:, 0] != ids[:, 1]).all()
    share = torch.bincount(ids.flatten(), minlength=6) / len(ids)
    torch.testing.assert_close(share, torch.full((6,), 2 / 6), atol=0.015, rtol=0)


def test_random_ids_follow_their_generator():
    one, two = (random_ids(4, 50, 5, generator=torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, random_ids(4, 50, 5, generator=torch.Generator().manual_seed(2)))


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


def test_what_comes_first_comes_first():
    first = torch.tensor([[False, True, False, True, False]]).expand(2_000, -1)
    weights = torch.tensor([[1e6, 1e-30, 1.0, 0.0, 1.0]]).expand(2_000, -1)
    ids = weighted_ids(weights, 3, first=first, generator=torch.Generator().manual_seed(0))
    assert (ids[:, :2].sort(1).values == torch.tensor([1, 3])).all()
    assert (ids[:, 2] == 0).float().mean() > 0.99


def test_one_tubelet_and_every_place_by_their_definitions():
    generator = torch.Generator().manual_seed(0)
    whole = one_tubelet(GRID, 600, generator).view(600, 3, 4)
    assert (whole.sum((1, 2)) == 4).all()
    assert (whole.sum(2) % 4 == 0).all()  # all of a tubelet or nothing
    spread = every_place(GRID, 600, generator).view(600, 3, 4)
    assert (spread.sum(1) == 1).all()
    assert (spread.any(2).sum(1) > 1).float().mean() > 0.9  # 3 of 81 lie in one tubelet
    for marked in (whole, spread):
        torch.testing.assert_close(marked.float().mean(0), torch.full((3, 4), 1 / 3), atol=0.08, rtol=0)
