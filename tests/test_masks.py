"""The two forms of a mask, and uniform masks."""

import torch

from tats_gym.masks import hidden_ids, mask_from_ids, random_ids


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
