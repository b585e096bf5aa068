"""Masks by hand and by search, on the toy whose best masks are known, and draw by draw."""

from types import SimpleNamespace

import pytest
import torch

from tats_gym.agents.experiments.studies import hand_masks
from tats_gym.agents.experiments.studies.hand_masks import masks_by_hand, search_masks
from tats_gym.agents.training.measures.evaluation import HeldOut
from tats_gym.model.errors import expected_errors
from tests.toy import BEST_ERROR, NoiseStream, ToyMAE


@pytest.fixture(name="held_out", scope="module")
def _held_out():
    return HeldOut(
        NoiseStream(), ToyMAE(), num_clips=24, num_masks=4, num_visible=8, batch_size=16, seed=0, reward="neg_error",
        precision="fp32",
    )  # fmt: skip


@pytest.fixture(name="error", scope="module")
def _error(held_out):
    return expected_errors(held_out.errors_by_token(held_out.random_ids_keep)[1])


def _generator():
    return torch.Generator().manual_seed(0)


def test_each_clips_own_search_ends_at_its_best_mask(held_out, error):
    ids = search_masks(held_out, error, _generator(), alike=False, rounds=60)
    assert ids.shape == (1, 24, 8)
    torch.testing.assert_close(held_out.errors(ids)[0], torch.full((24,), BEST_ERROR))


def test_the_search_of_one_mask_for_all_ends_near_the_best_one(held_out, error):
    ids = search_masks(held_out, error, _generator(), alike=True, rounds=120)
    assert (ids == ids[:, :1]).all()
    hard = held_out.mae.hardness(held_out.clips) > 1  # (B, L), one of four patterns
    share = max((hard == pattern).all(1).float().mean().item() for pattern in hard)
    # Eight hard tokens of the commonest pattern: the best there, and easy tokens in the other clips.
    best = share * BEST_ERROR + (1 - share) * (16 * 2 + 40 * 0.2) / 56
    found, random = held_out.errors(ids).mean().item(), held_out.errors(held_out.random_ids_keep).mean().item()
    assert best - 1e-6 <= found < best + 0.2 * (random - best)


def test_masks_by_hand_follow_their_weights(held_out, error):
    kinds = masks_by_hand(held_out, error, _generator())
    hard = held_out.mae.hardness(held_out.clips) > 1
    torch.testing.assert_close(error[hard], torch.full((16 * 24,), 2.0))
    found = {kind: hard.expand(4, -1, -1).gather(2, ids).float().mean().item() for kind, ids in kinds.items()}
    # The first of eight draws is hard with probability 16 w / (16 w + 48), where a hard token has w times the weight.
    assert found["uniform"] == pytest.approx(1 / 4, abs=0.05)
    assert found["p ~ sqrt e"] == pytest.approx(16 * 10**0.5 / (16 * 10**0.5 + 48), abs=0.1)
    assert found["uniform"] < found["p ~ sqrt e"] < found["p ~ e"]
    assert found["p ~ e of the place and time"] < found["p ~ sqrt e"]
    assert all(ids.shape == (4, 24, 8) for ids in kinds.values())


def test_the_weights_of_masks_by_hand(monkeypatch):
    """A draw returns its weights here; two clips of three tokens."""
    drawn = []

    def draw(weights, num_visible, *, first, generator):
        drawn.append((num_visible, first, generator))
        return weights

    monkeypatch.setattr(hand_masks, "weighted_ids", draw)
    monkeypatch.setattr(hand_masks, "every_place", lambda *arguments: arguments)
    motion, error = torch.tensor([[[0.0, 2.0, 7.0], [3.0, 0.0, 1.0]], [[1.0, 4.0, 4.0], [1.0, 25.0, 49.0]]])
    clips = SimpleNamespace(
        motion=motion, num_masks=2, num_visible=1, mae=SimpleNamespace(grid=SimpleNamespace(shape="grid shape"))
    )
    kinds = masks_by_hand(clips, error, "generator")
    assert {kind: weights.tolist() for kind, weights in kinds.items()} == {
        kind: 2 * [weights]
        for kind, weights in {
            "uniform": 2 * [[1, 1, 1]],
            "every place, then uniform": 2 * [[1, 1, 1]],
            "p ~ motion": motion.tolist(),
            "p ~ e": error.tolist(),
            "p ~ e + mean e": [[4, 7, 7], [26, 50, 74]],
            "p ~ sqrt e": [[1, 2, 2], [1, 5, 7]],
            "p ~ e of the place and time": 2 * [[1, 14.5, 26.5]],
        }.items()
    }
    places = ("grid shape", 2, "generator")
    assert drawn == [(1, first, "generator") for first in (None, None, places, places, *10 * [None])]


class _Table:
    """Held-out clips whose tokens have an error each, under any mask; the mean of the hidden ones falls with the sum of
    the shown ones."""

    num_visible = 16

    def __init__(self, errors):
        self.table, self.ids, self.tried = errors, range(len(errors)), []

    def errors_by_token(self, ids):
        self.tried.append(ids[0])
        by_token = self.table.scatter(1, ids[0], torch.nan)
        return by_token.nanmean(1)[None], by_token


@pytest.fixture(name="draws")
def _draws(monkeypatch):
    kept, draw = [], hand_masks.weighted_ids

    def keep(weights, count, *, generator):
        kept.append((weights, count))
        return draw(weights, count, generator=generator)

    monkeypatch.setattr(hand_masks, "weighted_ids", keep)
    return kept


@pytest.mark.parametrize("alike", [False, True])
def test_a_search_swaps_fewer_and_fewer_tokens_for_hidden_ones_by_their_errors(draws, alike):
    table = torch.rand(3, 40, generator=_generator()) + 0.5
    clips = _Table(table)
    found = search_masks(clips, table, _generator(), alike=alike, rounds=8)
    # A quarter of 16 tokens, times 8/8 to 1/8 of the rounds that are left, rounded; and one at least.
    assert [count for _, count in draws] == [16, 4, 4, 3, 2, 2, 2, 1, 1]
    first = table.sqrt().mean(0, keepdim=True) if alike else table.sqrt()
    torch.testing.assert_close(draws[0][0], first)
    errors = table.mean(0, keepdim=True) if alike else table
    masks = [tried[: len(errors)] for tried in clips.tried]
    now, lowest = masks[0], torch.full((len(errors),), torch.inf)
    for tried, (_, count), following in zip(masks, draws, [*draws[1:], None], strict=True):
        error = errors.scatter(1, tried, torch.nan).nanmean(1)
        kept = (tried[:, :, None] == now[:, None]).any(2).sum(1)
        assert (kept == 16 - count * (count < 16)).all()
        now, lowest = torch.where((error < lowest)[:, None], tried, now), torch.minimum(error, lowest)
        if following:  # tokens that are shown have no weight
            torch.testing.assert_close(following[0], errors.scatter(1, now, 0.0))
    assert torch.equal(found, now.expand(3, -1)[None])


def test_a_search_keeps_its_mask_where_another_has_the_same_error():
    clips = _Table(torch.ones(2, 40))
    found = search_masks(clips, clips.table, _generator(), alike=False, rounds=5)
    assert torch.equal(found, clips.tried[0][None])


def test_a_search_is_two_hundred_swaps_long_and_that_of_its_generator():
    table = torch.rand(2, 40, generator=_generator())
    once, again = (_Table(table) for _ in range(2))
    found = [search_masks(clips, table, _generator(), alike=False) for clips in (once, again)]
    assert len(once.tried) == 1 + 200
    assert torch.equal(*found)
