"""RankMe beside NumPy's singular values, and on features whose rank is known."""

import numpy as np
import pytest
import torch

from tats_gym.probe.rankme import rankme


def test_features_of_known_singular_values_have_the_rank_worked_out_by_hand():
    assert rankme(torch.eye(6)) == pytest.approx(6, rel=1e-4)
    assert rankme(torch.ones(40, 9)) == pytest.approx(1, rel=1e-4)
    by_hand = 4 ** (1 / 4) * (4 / 3) ** (3 / 4)  # exp of the entropy of (3/4, 1/4)
    assert rankme(torch.tensor([[3.0, 0.0], [0.0, 1.0]])) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_it_is_the_publication_s_formula_over_singular_values(shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, shape[1])
    singular = np.linalg.svd(values.double().numpy(), compute_uv=False)
    shares = singular / np.abs(singular).sum() + 1e-7
    assert rankme(values) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
