"""Marginal credit against the exact gradient, by enumeration of all ordered masks of a small clip."""

import itertools

import pytest
import torch

from tats_gym.agents.marginal_credit import marginal_advantage, marginal_credit, mean_by_token, neighbourhood
from tats_gym.agents.plackett_luce import PlackettLuce

GRID, NUM_TOKENS, NUM_VISIBLE = (2, 1, 3), 6, 3
ORDERED = torch.tensor(list(itertools.permutations(range(NUM_TOKENS), NUM_VISIBLE)))  # (120, K)
HIDDEN = torch.ones(len(ORDERED), NUM_TOKENS, dtype=torch.bool).scatter(1, ORDERED, False)


@pytest.fixture
def errors():
    """Errors (120, L) that depend on the whole set of visible tokens, in no simple way."""
    torch.manual_seed(0)
    of_set = {kept: torch.rand(NUM_TOKENS, dtype=torch.float64) for kept in itertools.combinations(range(6), 3)}
    return torch.stack([of_set[tuple(sorted(ids.tolist()))] for ids in ORDERED]) * HIDDEN


def _gradients(errors, credit):
    """Return the exact gradient of the expected reward by the logits, and the expected gradient under the credit."""
    logits = torch.tensor([0.3, -1.0, 0.5, 0.0, 1.2, -0.4], dtype=torch.float64, requires_grad=True)
    log_prob = PlackettLuce(logits.expand(len(ORDERED), -1), NUM_VISIBLE).log_prob(ORDERED)  # (120, K)
    probability = log_prob.sum(1).exp()
    reward = -errors.sum(1) / (NUM_TOKENS - NUM_VISIBLE)
    surrogate = (probability.detach() * (credit * log_prob).sum(1)).sum()
    exact, expected = ((probability * reward).sum(), surrogate)
    return [torch.autograd.grad(each, logits, retain_graph=True)[0] for each in (exact, expected)]


@pytest.mark.parametrize("expected", [torch.zeros(6), torch.tensor([0.9, 0.1, 0.4, 0.7, 0.2, 0.5])])
def test_credit_over_the_whole_clip_has_the_exact_gradient_for_any_expected_errors(errors, expected):
    weights = neighbourhood(GRID, "clip", 0.0).double()
    credit = marginal_credit(ORDERED, errors, HIDDEN, expected.double().expand(len(ORDERED), -1), weights)
    torch.testing.assert_close(*_gradients(errors, credit), rtol=1e-12, atol=1e-14)


def test_credit_of_a_token_alone_points_along_the_gradient_where_errors_do_not_depend_on_the_mask():
    own = torch.tensor([0.9, 0.1, 0.4, 0.7, 0.2, 0.5], dtype=torch.float64)
    errors, expected = own * HIDDEN, own.expand(len(ORDERED), -1)
    alone = marginal_credit(ORDERED, errors, HIDDEN, expected, neighbourhood(GRID, "token", 0.0).double())
    torch.testing.assert_close(alone, own[ORDERED] / 3)
    exact, expected_gradient = _gradients(errors, alone)
    assert torch.cosine_similarity(exact, expected_gradient, dim=0) > 0.95


def test_credit_by_hand():
    # Two times, two places; tokens 0 and 2 are at one place. Visible, in draw order: 2, then 0.
    ids, mask = torch.tensor([[2, 0]]), torch.tensor([[False, True, False, True]])
    errors, expected = torch.tensor([[0.0, 5.0, 0.0, 1.0]]), torch.tensor([[4.0, 3.0, 2.0, 1.5]])
    by_reach = {
        "token": [2.0, 4.0],
        "place": [2.0 + 4.0, 4.0],  # the second draw cannot change the first token's term
        "clip": [2.0 + 4.0 + (3.0 - 5.0) + (1.5 - 1.0), 4.0 + (3.0 - 5.0) + (1.5 - 1.0)],
    }
    for reach, credit in by_reach.items():
        weights = neighbourhood((2, 1, 2), reach, 0.0)
        found = marginal_credit(ids, errors, mask, expected, weights)
        torch.testing.assert_close(found, torch.tensor([credit]) / 2)
    a_tenth = marginal_credit(ids, errors, mask, expected, neighbourhood((2, 1, 2), "token", far_weight=0.1))
    torch.testing.assert_close(a_tenth, torch.tensor([[2.0 + 0.4 - 0.2 + 0.05, 4.0 - 0.2 + 0.05]]) / 2)


def test_predicted_tokens_stand_for_all_hidden_ones():
    ids, errors, expected = torch.tensor([[0]]), torch.tensor([[0.0, 5.0, 0.0, 0.0]]), torch.full((1, 4), 2.0)
    some = torch.tensor([[False, True, False, False]])  # one of three hidden tokens was predicted
    found = marginal_credit(ids, errors, some, expected, neighbourhood((1, 1, 4), "clip", 0.0))
    torch.testing.assert_close(found, torch.tensor([[2.0 + 3 * (2.0 - 5.0)]]) / 3)


def test_an_advantage_is_the_credit_beyond_that_of_the_clips_average_token():
    ids, mask = torch.tensor([[2, 0], [1, 3]]), torch.tensor([[False, True, False, True], [True, False, True, False]])
    errors = torch.tensor([[0.0, 5.0, 0.0, 1.0], [2.0, 0.0, 1.0, 0.0]])
    expected = torch.tensor([[4.0, 3.0, 2.0, 1.5], [1.0, 2.0, 3.0, 4.0]])  # their means are 2.625 and 2.5
    found = marginal_advantage(ids, errors, mask, expected, neighbourhood((2, 1, 2), "clip", 0.0))
    first = [2.0 + 4.0 - 2.0 + 0.5 - 2.625, 4.0 - 2.0 + 0.5 - 2.625]
    second = [2.0 + 4.0 - 1.0 + 2.0 - 2.5, 4.0 - 1.0 + 2.0 - 2.5]
    torch.testing.assert_close(found, torch.tensor([first, second]) / 2)


def test_a_token_that_is_in_no_mask_has_its_clips_mean():
    total = torch.tensor([[[4.0, 0.0, 11.0], [10.0, 2.0, 0.0]]])
    times = torch.tensor([[[2.0, 0.0, 1.0], [2.0, 1.0, 0.0]]])
    assert mean_by_token(total, times).tolist() == [[[2.0, 5.0, 11.0], [5.0, 2.0, 4.0]]]


def test_neighbourhoods_by_hand():
    # Two times of 3 x 3 places, numbered row by row: the corner 0, its neighbours 1, 3, 4; the second time adds 9.
    shape = (2, 3, 3)
    rows = {
        reach: neighbourhood(shape, reach, 0.0)[0].nonzero().flatten().tolist() for reach in ("token", "place", "clip")
    }
    assert rows == {"token": [0], "place": [0, 9], "clip": list(range(18))}
    assert neighbourhood(shape, "neighbours", 0.0)[0].nonzero().flatten().tolist() == [0, 1, 3, 4, 9, 10, 12, 13]
    assert neighbourhood(shape, "neighbours", 0.0)[4].all()
    assert neighbourhood(shape, "place", far_weight=0.25)[0, :2].tolist() == [1.0, 0.25]
    assert neighbourhood(shape, "place", far_weight=1.0).all()


@pytest.mark.parametrize(
    ("reach", "far_weight", "says"),
    [("near", 0.0, "reach must be one of .*place.*; got 'near'"), ("clip", 1.5, "far_weight must lie in .* got 1.5")],
)
def test_a_wrong_neighbourhood_is_refused(reach, far_weight, says):
    with pytest.raises(ValueError, match=says):
        neighbourhood((2, 1, 2), reach, far_weight)
