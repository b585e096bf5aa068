"""Credits against gradients by enumeration, on clips of six tokens of which two are seen."""

from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

from tats_gym.agents.experiments.studies.credit_gradient import STEEPEST, credit_gradients
from tats_gym.masks import hidden_ids, mask_from_ids
from tats_gym.model.videomae import Reconstruction
from tats_gym.tokens import TokenGrid

L, K, M = 6, 2, 4
DRAWS = torch.tensor(list(permutations(range(L), K)))  # (30, K)
UNIFORM = torch.zeros(2, L)
SKEWED = torch.tensor([[1.0, -0.5, 0.3, 0.0, -1.0, 0.6], [-0.8, 0.9, 0.0, -0.4, 0.5, 1.2]])
HARD = torch.tensor([[4.0, 4.0, 3.0, 2.0, 2.0, 3.0], [9.0, 6.0, 7.0, 8.0, 7.0, 9.0]])
"""Error of each token of two clips when the visible tokens do not help."""
CREDITS = ["token", "token, no baseline", "mask, neg_error", STEEPEST, "mask, gain", "mask, error"]
MARGINAL = ["marginal, token", "marginal, place", "marginal, neighbours", "marginal, clip"]


class AdditiveMAE:
    """Errs at token i by its hardness less the help of every visible token; a clip's pixels are its number."""

    grid = TokenGrid(frames=L, size=1, tubelet_size=1, patch_size=1, visible=K)

    def __init__(self, help_shown):
        self.help_shown = help_shown  # (2, L)

    def __call__(self, clips, ids_keep):
        mask = mask_from_ids(ids_keep, L)
        ids, which = hidden_ids(mask, M), clips[:, 0, 0, 0, 0].long()
        helped = self.help_shown[which].gather(1, ids_keep).sum(1, keepdim=True)
        target = (HARD[which].gather(1, ids) - helped).sqrt()[..., None]
        return Reconstruction(torch.zeros_like(target), target, ids, mask)


USELESS = AdditiveMAE(torch.zeros(2, L))
EASY_ONES_HELP = AdditiveMAE((HARD.amax(1, keepdim=True) - HARD) * 0.4)
MAES = {"what is shown helps nothing": USELESS, "easy tokens help": EASY_ONES_HELP}


def _clips(*numbers):
    return torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None, None].expand(-1, 3, L, 1, 1)


def _measure(mae, logits, draws=4000, copies=1):
    return credit_gradients(
        mae, _clips(*[0, 1] * copies), logits.repeat(copies, 1), K, draws=draws, seed=0, batch_size=4096
    )


def _enumerate(mae, logits, which):
    """Return the descent of the exact error, and mean and total variance of "token" and of the perfect clip credit."""
    logits = logits.double()
    shown = mae(_clips(*[which] * len(DRAWS)), DRAWS)
    errors = shown.spread(shown.errors).double()  # (30, L)
    own = errors.sum(1) / M

    def each_log_prob(z):
        first, second = z.exp()[DRAWS].T
        return torch.stack((first / z.exp().sum(), second / (z.exp().sum() - first)), dim=1).log()  # (30, K)

    def log_prob(z):
        return each_log_prob(z).sum(1)

    chance = log_prob(logits).exp()
    value = chance @ own
    descent = -torch.autograd.functional.jacobian(lambda z: log_prob(z).exp() @ own, logits)
    scores = torch.autograd.functional.jacobian(log_prob, logits)  # (30, L)
    token_scores = torch.eye(L) - logits.softmax(0)  # row i: of token i
    each = {
        "token": ((errors - value) * shown.mask / M) @ token_scores,
        "token, no baseline": (errors / M) @ token_scores,
        STEEPEST: (value - own)[:, None] / K * scores,
        **_marginal(chance, errors, shown.mask, torch.autograd.functional.jacobian(each_log_prob, logits)),
    }
    means = {name: chance @ gradients for name, gradients in each.items()}
    variances = {name: chance @ (gradients - means[name]).square().sum(1) for name, gradients in each.items()}
    return descent, means, variances


def _marginal(chance, errors, hidden, scores):
    """Return the gradients (30, L) of marginal credit by its definition, draw by draw; scores (30, K, L)."""
    expected = (chance @ errors) / (chance @ hidden.double())  # (L,)
    found = {name: torch.zeros(len(DRAWS), L, dtype=torch.double) for name in ("marginal, token", "marginal, clip")}
    for row, draws in enumerate(DRAWS.tolist()):
        for k, token in enumerate(draws):
            left = sum(expected[j] - errors[row, j] for j in range(L) if j not in draws[:k])
            for name, credit in (("marginal, token", expected[token]), ("marginal, clip", left)):
                found[name][row] += (credit - expected.mean()) / M / K * scores[row, k]
    return found


def _exact(mae, logits, credit):
    """Return cosine, slope and signal-to-noise of a credit over the two clips."""
    descents, means, variances = zip(*(_enumerate(mae, logits[i], i) for i in range(2)), strict=True)
    descent, mean = torch.stack(descents), torch.stack([each[credit] for each in means])
    variance = sum(each[credit] for each in variances)
    cosine = F.cosine_similarity(mean.flatten(), descent.flatten(), dim=0)
    slope = -(F.normalize(mean, dim=1) * descent).sum(1).mean()
    return cosine.item(), slope.item(), (mean.square().sum() / variance).sqrt().item()


def _kept(signal_to_noise, draws):
    """Return the factor by which noise shrinks a cosine, as documented."""
    signal = draws / 2 * signal_to_noise**2
    return (signal / (1 + signal)) ** 0.5


@pytest.mark.parametrize("logits", [UNIFORM, SKEWED], ids=["uniform", "skewed"])
@pytest.mark.parametrize("mae", MAES.values(), ids=MAES)
def test_credits_agree_with_an_enumeration(mae, logits):
    measured = _measure(mae, logits)
    assert list(measured) == CREDITS + MARGINAL
    assert measured["marginal, place"] == measured["marginal, neighbours"] == measured["marginal, clip"]  # one place
    for credit in ("token", "token, no baseline", STEEPEST, "marginal, token", "marginal, clip"):
        cosine, slope, signal_to_noise = _exact(mae, logits, credit)
        kept = _kept(signal_to_noise, 4000)
        of_reference = _kept(_exact(mae, logits, STEEPEST)[2], 4000)
        assert measured[credit].cosine == pytest.approx(cosine * kept * of_reference, abs=0.03)
        assert measured[credit].slope == pytest.approx(slope * kept, abs=0.006)
        assert measured[credit].signal_to_noise == pytest.approx(signal_to_noise, abs=0.02)
        assert measured[credit].draws == 4000


def test_ascending_any_clip_credit_lowers_the_error_and_error_is_the_opposite():
    for mae in MAES.values():
        measured = _measure(mae, SKEWED)
        assert all(measured[credit].slope < -0.05 for credit in ("mask, neg_error", STEEPEST, "mask, gain"))
        towards, away = measured["mask, neg_error"], measured["mask, error"]
        assert (away.cosine, away.slope) == pytest.approx((-towards.cosine, -towards.slope), abs=1e-6)
        assert away.signal_to_noise == pytest.approx(towards.signal_to_noise, rel=1e-3)


def test_token_credit_raises_the_error_where_the_easy_tokens_are_the_ones_that_help():
    assert _measure(USELESS, UNIFORM)["token"].slope < -0.1
    assert _measure(EASY_ONES_HELP, UNIFORM)["token"].slope > 0.1


def test_one_value_for_unlike_clips_leaves_more_noise_than_a_random_mask_and_that_more_than_their_own():
    measured = _measure(EASY_ONES_HELP, UNIFORM)
    constant, gain, own = (measured[credit].signal_to_noise for credit in ("mask, neg_error", "mask, gain", STEEPEST))
    assert 4 * constant < gain < 0.8 * own


def test_a_cosine_shrinks_with_the_noise_as_documented():
    measured = _measure(EASY_ONES_HELP, UNIFORM, draws=20, copies=1000)
    kept = {name: _kept(each.signal_to_noise, 20) for name, each in measured.items()}
    assert kept["mask, gain"] < 0.75 < kept[STEEPEST] < 0.87 < kept["token"]
    for credit, cosine in {"mask, gain": 1, STEEPEST: 1, "token": -1}.items():
        assert measured[credit].cosine == pytest.approx(cosine * kept[credit] * kept[STEEPEST], abs=0.03)
    _, slope, _ = _exact(EASY_ONES_HELP, UNIFORM, "token")
    # A value that saw the draw which it is subtracted from would take a tenth of the descent away.
    assert measured["token"].slope == pytest.approx(slope * kept["token"], rel=0.03)


def test_the_same_seed_gives_the_same_and_other_random_numbers_stay():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = _measure(USELESS, SKEWED, draws=8)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    with torch.no_grad():
        assert _measure(USELESS, SKEWED, draws=8) == first


def test_bad_arguments_are_named():
    for draws in (2, 7):
        with pytest.raises(ValueError, match=f"draws must be even and at least 4.*got {draws}"):
            _measure(USELESS, UNIFORM, draws=draws)
    with pytest.raises(ValueError, match=r"logits must be \(B, L\) = \(2, 6\).*got \(1, 6\)"):
        _measure(USELESS, UNIFORM[:1])
