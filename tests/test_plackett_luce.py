"""Plackett-Luce by enumeration of every ordered draw."""

import math
from itertools import permutations

import pytest
import torch
from torch.distributions import kl_divergence

from tats_gym.agents.plackett_luce import PlackettLuce


def _every_draw(num_tokens, num_visible):
    return torch.tensor(list(permutations(range(num_tokens), num_visible)))


def _by_definition(logits, draw):
    """Multiply exp(logit) / (sum over the tokens left), one draw after another."""
    weights = logits.double().exp().tolist()
    left, probability = set(range(len(weights))), 1.0
    for token in draw.tolist():
        probability *= weights[token] / sum(weights[j] for j in left)
        left.remove(token)
    return probability


@pytest.fixture(name="logits")
def _logits():
    return torch.tensor([0.3, -1.2, 2.0, 0.0, 0.7])


def _distribution(logits, draws, num_visible):
    return PlackettLuce(logits.expand(len(draws), -1), num_visible)


def test_log_probabilities_are_the_definitions_and_sum_to_one(logits):
    draws = _every_draw(5, 3)
    joint = _distribution(logits, draws, 3).log_prob(draws).sum(1).exp()
    expected = torch.tensor([_by_definition(logits, draw) for draw in draws])
    torch.testing.assert_close(joint, expected, atol=1e-6, rtol=1e-5)
    assert joint.sum().item() == pytest.approx(1.0, abs=1e-5)


def test_each_draw_is_conditioned_on_the_draws_before(logits):
    draw = torch.tensor([[2, 0]])
    first, second = PlackettLuce(logits[None], 2).log_prob(draw)[0].exp().tolist()
    weights = logits.exp()
    assert first == pytest.approx((weights[2] / weights.sum()).item(), rel=1e-5)
    assert second == pytest.approx((weights[0] / (weights.sum() - weights[2])).item(), rel=1e-5)


def test_extreme_logits_stay_exact():
    # Subtracting the drawn weights from the total would leave no digit of the rest.
    logits = torch.tensor([[60.0, 30.0, 0.0, -1.0]])
    log_prob = PlackettLuce(logits, 3).log_prob(torch.tensor([[0, 1, 2]]))[0]
    assert log_prob[2].item() == pytest.approx(-torch.tensor(-1.0).exp().log1p().item(), abs=1e-5)


def test_samples_come_as_often_as_they_should(logits):
    torch.manual_seed(0)
    sampled = PlackettLuce(logits.expand(200_000, -1), 2).sample()
    draws = _every_draw(5, 2)
    expected = _distribution(logits, draws, 2).log_prob(draws).sum(1).exp()
    counts = torch.stack([(sampled == draw).all(1).float().mean() for draw in draws])
    torch.testing.assert_close(counts, expected, atol=3e-3, rtol=0)


def test_several_samples_of_each_row_come_as_often_too(logits):
    torch.manual_seed(0)
    distribution = PlackettLuce(torch.stack((logits, logits.flip(0))), 2)
    sampled = distribution.sample((2, 50_000))  # (2, 50000, B, K)
    assert sampled.shape == (2, 50_000, 2, 2)
    draws = _every_draw(5, 2)
    expected = torch.tensor([_by_definition(logits, draw) for draw in draws])
    for row, ids in ((0, draws), (1, 4 - draws)):
        counts = torch.stack([(sampled[:, :, row] == draw).all(-1).float().mean() for draw in ids])
        torch.testing.assert_close(counts, expected, atol=3e-3, rtol=0)
    each = torch.stack([distribution.log_prob(one) for one in sampled[0, :3]])
    torch.testing.assert_close(distribution.log_prob(sampled[0, :3]), each, rtol=0, atol=0)


def test_samples_are_distinct_in_half_precision_too():
    torch.manual_seed(0)
    sampled = PlackettLuce(torch.randn(64, 300).bfloat16(), 40).sample()
    assert (sampled.sort(1).values.diff(dim=1) > 0).all()


def test_the_mode_is_the_likeliest_set(logits):
    assert PlackettLuce(logits[None], 3).mode.tolist() == [[2, 4, 0]]


def test_entropy_is_the_first_draws(logits):
    p = logits.double().softmax(0)
    entropy = PlackettLuce(logits[None], 3).entropy().item()
    assert entropy == pytest.approx(-(p * p.log()).sum().item(), abs=1e-6)
    uniform = PlackettLuce(torch.zeros(1, 1568), 78).entropy().item()
    assert uniform == pytest.approx(torch.tensor(1568.0).log().item(), abs=1e-4)


def test_entropy_along_draws_averages_to_the_exact_entropy(logits):
    draws = _every_draw(5, 3)
    distribution = _distribution(logits, draws, 3)
    joint = distribution.log_prob(draws).sum(1)
    exact = -(joint.exp() * joint).sum()
    estimate = (joint.exp() * distribution.entropy_along(draws)).sum()
    torch.testing.assert_close(estimate, exact, atol=1e-5, rtol=1e-5)
    # and scatters less than the estimate it replaces
    spread = (joint.exp() * (distribution.entropy_along(draws) - exact) ** 2).sum()
    naive = (joint.exp() * (-joint - exact) ** 2).sum()
    assert spread < 0.25 * naive


def test_entropy_along_is_finite_where_one_token_drowns_the_others():
    entropy = PlackettLuce(torch.tensor([[200.0, 0.0, 0.0]]), 2).entropy_along(torch.tensor([[0, 1]]))
    assert entropy.item() == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-4)  # a coin between the two left


def test_entropy_along_does_not_depend_on_other_clips():
    logits = torch.tensor([[1e6, 0.0, -1e6], [math.log(2), 0.0, 0.0]])
    entropy = PlackettLuce(logits, 2).entropy_along(torch.tensor([[0, 1], [0, 1]]))[1]
    # 1/2 ln 2 + 2 (1/4) ln 4 at the first draw, a coin at the second
    assert entropy.item() == pytest.approx(1.5 * math.log(2) + math.log(2), abs=1e-5)


def test_the_entropys_gradient_is_that_of_the_enumeration(logits):
    logits = logits.clone().requires_grad_()
    draws = _every_draw(5, 3)
    distribution = _distribution(logits, draws, 3)
    joint = distribution.log_prob(draws).sum(1)
    (exact,) = torch.autograd.grad(-(joint.exp() * joint).sum(), logits, retain_graph=True)
    # E[H_along] differentiates to E[grad H_along + H_along grad log_prob].
    along = distribution.entropy_along(draws)
    surrogate = (joint.exp().detach() * (along + along.detach() * joint)).sum()
    (estimate,) = torch.autograd.grad(surrogate, logits)
    torch.testing.assert_close(estimate, exact, atol=1e-5, rtol=1e-4)


def test_the_divergence_of_two_samplers_is_that_of_the_enumeration(logits):
    other = torch.tensor([0.0, 0.5, 1.0, -0.5, 0.7])
    draws = _every_draw(5, 3)
    p, q = (_distribution(each, draws, 3).log_prob(draws).sum(1) for each in (logits, other))
    exact = (p.exp() * (p - q)).sum()
    torch.manual_seed(0)
    many = [PlackettLuce(each.expand(50_000, -1), 3) for each in (logits, other)]
    found = kl_divergence(*many)
    torch.testing.assert_close(found.mean(), exact, atol=5e-3, rtol=0)
    assert found.std() < 0.5 * exact
    assert kl_divergence(many[0], many[0]).abs().max() < 1e-5


def test_the_divergence_of_one_draw_by_hand():
    # 1/2 ln(2/3) + 1/2 ln 2, for 1/2 and 1/2 against 3/4 and 1/4; of 64 rows none draws the last token, some the second
    logits = torch.tensor([[0.0, 0.0, -60.0], [math.log(3), 0.0, -60.0]])
    p, q = (PlackettLuce(each.expand(64, -1), 1) for each in logits)
    assert kl_divergence(p, q).tolist() == pytest.approx([(math.log(2 / 3) + math.log(2)) / 2] * 64, rel=1e-5)


def test_where_samplers_agree_the_divergence_curves_as_the_enumerations(logits):
    draws = _every_draw(5, 2)
    old = logits.clone()

    def exact(new):
        p, q = (_distribution(each, draws, 2).log_prob(draws).sum(1) for each in (new, old))
        return (p.exp() * (p - q)).sum()

    def found(new):
        torch.manual_seed(0)
        return kl_divergence(*(PlackettLuce(each.expand(20_000, -1), 2) for each in (new, old))).mean()

    curvatures = [torch.autograd.functional.hessian(each, old) for each in (found, exact)]
    torch.testing.assert_close(*curvatures, atol=5e-3, rtol=0)
    assert curvatures[1].abs().max() > 0.3


def test_a_distribution_can_be_repeated_row_by_row():
    logits = torch.randn(2, 5)
    distribution = PlackettLuce(logits, 3)
    assert (distribution.batch_shape, distribution.event_shape) == ((2,), (3,))
    assert distribution.repeated(1) is distribution
    assert torch.equal(distribution.repeated(2).logits, logits[[0, 0, 1, 1]])
    assert torch.equal(distribution.repeated(3).logits, logits[[0, 0, 0, 1, 1, 1]])
    assert (distribution.repeated(3).num_visible, distribution.repeated(3).batch_shape) == (3, (6,))


def test_samples_follow_their_generator_alone(logits):
    sampled = []
    for seed, elsewhere in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(elsewhere)
        sampled.append(PlackettLuce(logits.expand(50, -1), 3).sample(generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(sampled[0], sampled[1])
    assert not torch.equal(sampled[0], sampled[2])


def test_log_prob_gradients_match_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(1, 6)
    draw = torch.tensor([[4, 1, 3]])
    logits.requires_grad_()
    PlackettLuce(logits, 3).log_prob(draw).sum().backward()
    for j in range(6):
        step = torch.zeros(1, 6)
        step[0, j] = 1e-2
        with torch.no_grad():
            up, down = (PlackettLuce(logits + s, 3).log_prob(draw).sum() for s in (step, -step))
        assert logits.grad[0, j].item() == pytest.approx((up - down).item() / 2e-2, abs=1e-3)


@pytest.mark.parametrize("num_visible", [0, 5, 9])
def test_impossible_numbers_of_draws_are_refused(logits, num_visible):
    with pytest.raises(ValueError, match=r"num_visible must lie in \(0, 5\)"):
        PlackettLuce(logits[None], num_visible)
