"""Masks by hand and by search, on the toy whose best masks are known."""

import pytest
import torch

from tats_gym.agents.expected_errors import expected_errors
from tats_gym.agents.experiments.hand_masks import masks_by_hand, search_masks
from tats_gym.agents.training.evaluation import HeldOut
from tests.toy import BEST_ERROR, NoiseStream, ToyMAE


@pytest.fixture(name="held_out", scope="module")
def _held_out():
    return HeldOut(
        NoiseStream(), ToyMAE(), num_clips=24, num_masks=4, num_visible=8, batch_size=16, seed=0, reward="neg_error",
        precision="fp32",
    )  # fmt: skip


@pytest.fixture(name="error", scope="module")
def _error(held_out):
    return expected_errors(held_out.errors_by_token(held_out.random)[1])


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
    found, random = held_out.errors(ids).mean().item(), held_out.errors(held_out.random).mean().item()
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
