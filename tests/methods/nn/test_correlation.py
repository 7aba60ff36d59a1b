"""Correlation of spots over genes; the released form is compared in tests/evaluation/test_parity.py."""

import numpy as np
import pytest
import torch

from stbench.methods.nn.correlation import spot_correlation


@pytest.fixture
def x():
    return torch.rand(2, 6, 30, generator=torch.Generator().manual_seed(0)) * 3


def test_it_is_pearsons(x):
    found = spot_correlation(x)
    for window, values in zip(x, found, strict=True):
        expected = np.corrcoef(window.double().numpy()) - np.eye(6)
        np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize("by_sum", [False, True])
def test_constant_and_masked_spots_correlate_with_none(x, by_sum):
    x[0, 2], x[0, 3] = (0.3 if not by_sum else 0.0), 0
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4] = False
    found = spot_correlation(x, mask, by_sum=by_sum)
    assert not found[0, 2:4].any()
    assert not found[1, 4].any()
    assert not found[1, :, 4].any()
    torch.testing.assert_close(found, found.transpose(1, 2))
    assert not found.diagonal(dim1=1, dim2=2).any()


@pytest.mark.parametrize("n_genes", [3, 50, 2000])
@pytest.mark.parametrize("by_sum", [False, True])
def test_a_window_of_constant_spots_has_no_correlation_and_a_finite_gradient(n_genes, by_sum):
    levels = torch.rand(9, 1, generator=torch.Generator().manual_seed(1)) * 8 * (not by_sum)
    constant = levels.expand(9, n_genes).clone().requires_grad_()
    found = spot_correlation(constant, by_sum=by_sum)
    assert not found.any()
    found.sum().backward()
    assert bool(torch.isfinite(constant.grad).all())


def test_it_keeps_its_precision_under_autocast(x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(spot_correlation(x), spot_correlation(x.double()).float(), atol=1e-5, rtol=0)


def test_centring_by_the_sum_makes_expression_correlate_perfectly(x):
    off_diagonal = ~torch.eye(6, dtype=torch.bool)
    assert spot_correlation(x, by_sum=True)[:, off_diagonal].min() > 0.95
    assert spot_correlation(x)[:, off_diagonal].abs().mean() < 0.3
