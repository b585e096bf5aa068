"""The three spaces; `python -m tests.gymnasium_suite` runs Gymnasium's own tests on them too."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import InvalidAction
from gymnasium.vector.utils import batch_differing_spaces, batch_space, iterate

from tats_gym.envs.checks import check_ids, check_scores
from tats_gym.envs.spaces import ScoreBox, Subset, TokenBox


def test_a_token_box_takes_no_memory():
    space = batch_space(TokenBox((1568, 768), (8, 14, 14)), 256)
    assert space.shape == (256, 1568, 768)
    assert space.low.strides == (0, 0, 0)
    assert len(pickle.dumps(space)) < 1000
    assert space.grid_shape == (8, 14, 14)


def test_a_token_box_is_a_box():
    space = TokenBox((4, 3), (1, 2, 2), seed=0)
    sample = space.sample()
    assert sample.shape == (4, 3)
    assert sample.dtype == np.float32
    assert space.contains(sample)
    assert not space.contains(sample[:2])
    for copy in (deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert copy == space
    assert space != TokenBox((4, 3), (4, 1, 1))


def test_a_subset_samples_distinct_tokens_uniformly():
    space = Subset(6, 2, batch=(20_000,), seed=0)
    ids = space.sample()
    assert space.contains(ids)
    assert (ids[:, 0] != ids[:, 1]).all()
    np.testing.assert_allclose(np.bincount(ids.ravel(), minlength=6) / len(ids), 2 / 6, atol=0.015)


@pytest.mark.parametrize(
    ("action", "legal"),
    [
        ([0, 5], True),
        ([5, 0], True),
        ([0, 0], False),
        ([0, 6], False),
        ([-1, 2], False),
        ([0], False),
        ([0.0, 1.0], False),
    ],
)
def test_a_subset_contains_distinct_numbers_in_range(action, legal):
    assert Subset(6, 2).contains(np.array(action)) is legal


def test_a_subset_batches_and_copies():
    space = Subset(6, 2, seed=3)
    batched = batch_space(space, 4)
    assert batched.shape == (4, 2)
    assert batched == Subset(6, 2, batch=(4,))
    assert pickle.loads(pickle.dumps(space)) == space
    assert space.sample().shape == (2,)


def test_a_score_box_is_a_box_that_knows_how_many_tokens_are_shown():
    space = ScoreBox(6, 2, seed=3)
    batched = batch_space(space, 4)
    assert batched.shape == (4, 6)
    assert batched == ScoreBox(6, 2, batch=(4,))
    assert batched.contains(batched.sample())
    assert space.contains(np.full(6, 5, np.float32))
    assert not space.contains(np.full(6, 5.1, np.float32))
    for copy in (deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert copy == space
        assert (copy.num_visible, copy.limit) == (2, 5)
    assert space != ScoreBox(6, 3)
    with pytest.raises(ValueError, match=r"num_visible must lie in \(0, 6\), got 6"):
        ScoreBox(6, 6)


def test_equal_seeds_give_equal_samples():
    one, two = Subset(50, 7, seed=1), Subset(50, 7, seed=1)
    np.testing.assert_array_equal(one.sample(), two.sample())


def test_illegal_actions_are_named():
    space = Subset(6, 2)
    with pytest.raises(InvalidAction, match=r"token 6 of clip 1 lies outside \[0, 6\)"):
        check_ids(np.array([[0, 1], [2, 6]]), 2, space)
    with pytest.raises(InvalidAction, match="token 3 of clip 0 is chosen more than once"):
        check_ids(np.array([[3, 3], [2, 1]]), 2, space)
    with pytest.raises(InvalidAction, match=r"shape \(2, 2\), got \(2, 3\)"):
        check_ids(np.zeros((2, 3), dtype=int), 2, space)
    with pytest.raises(InvalidAction, match="must be integers, got float64"):
        check_ids(np.zeros((2, 2)), 2, space)
    with pytest.raises(InvalidAction, match="the score of token 1 of clip 0 is nan"):
        check_scores(np.array([[0, np.nan, 1]]), 1, 3)
    with pytest.raises(InvalidAction, match=r"shape \(1, 3\), got \(1, 2\)"):
        check_scores(np.zeros((1, 2)), 1, 3)


def test_masks_for_sampling_are_refused():
    with pytest.raises(ValueError, match="neither mask nor probability"):
        Subset(6, 2).sample(mask=np.ones(6))
    with pytest.raises(ValueError, match=r"num_visible must lie in \(0, 6\), got 6"):
        Subset(6, 6)


EACH = [TokenBox((4, 3), (1, 2, 2)), Subset(8, 3), ScoreBox(8, 3), Subset(8, 3, batch=(2,)), ScoreBox(8, 3, batch=(2,))]


def _draws(space):
    return np.stack([space.sample() for _ in range(3)])


@pytest.mark.parametrize("space", EACH, ids=str)
def test_copies_continue_the_same_draws(space):
    space.seed(4)
    space.sample()
    copies = [deepcopy(space), pickle.loads(pickle.dumps(space))]
    expected = _draws(space)
    for copy in copies:
        np.testing.assert_array_equal(_draws(copy), expected)


@pytest.mark.parametrize("space", EACH, ids=str)
@pytest.mark.parametrize("batch", [batch_space, lambda space, n: batch_differing_spaces([space] * n)])
def test_a_batch_draws_on_its_own(space, batch):
    space.seed(5)
    batched = batch(space, 4)
    assert batched.shape == (4, *space.shape)
    assert batched.np_random is not space.np_random
    expected = deepcopy(batched).sample()
    space.sample()
    drawn = batched.sample()
    np.testing.assert_array_equal(drawn, expected)
    rows = list(iterate(batched, drawn))
    assert len(rows) == 4
    assert all(space.contains(row) for row in rows)


def test_boxes_draw_as_gymnasium_draws():
    limits = -1.5, 2.0
    for ours, theirs in (
        (TokenBox((4, 3), (1, 2, 2)), spaces.Box(-np.inf, np.inf, (4, 3))),
        (TokenBox((4, 3), (1, 2, 2), *limits), spaces.Box(*limits, (4, 3))),
        (ScoreBox(6, 2, limit=3.0), spaces.Box(-3.0, 3.0, (6,))),
    ):
        ours.seed(6)
        theirs.seed(6)
        np.testing.assert_array_equal(_draws(ours), _draws(theirs))


def test_lists_are_contained_as_in_a_multi_discrete():
    assert [0, 5] in Subset(6, 2)
    assert [0, 0] not in Subset(6, 2)
    assert [[0, 1], [2, 3]] in Subset(6, 2, batch=(2,))


def test_only_equal_spaces_are_batched():
    with pytest.raises(
        ValueError, match=r"expected equal spaces in a batch, got Subset\(2 of 6\) and Subset\(3 of 6\)"
    ):
        batch_differing_spaces([Subset(6, 2), Subset(6, 3)])
