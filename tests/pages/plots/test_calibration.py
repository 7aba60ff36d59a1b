"""Rank histograms count where the truth falls."""

import numpy as np
import pytest

from stbench.metrics.generative import coverage_error
from stbench.pages.plots.calibration import calibration, rank_shares


def test_ranks_are_counted():
    truth = np.array([[0.0, 1.5, 9.0, 2.5]])
    draws = np.tile(np.array([1.0, 2.0, 3.0])[:, None, None], (1, 1, 4))
    np.testing.assert_allclose(rank_shares(truth, draws), [0.25, 0.25, 0.25, 0.25])


def test_a_tie_is_shared_between_its_places():
    draws = np.array([1.0, 1.0, 3.0])[:, None, None]
    np.testing.assert_allclose(rank_shares([[1.0]], draws), [1 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(rank_shares([[3.0]], draws), [0, 0, 0.5, 0.5])


@pytest.mark.parametrize("digits", [0, 8])
def test_the_ends_are_what_coverage_leaves(digits):
    rng = np.random.default_rng(3)
    truth, draws = (np.round(rng.normal(size=shape), digits) for shape in ((40, 6), (5, 40, 6)))
    shares = rank_shares(truth, draws)
    assert shares.sum() == pytest.approx(1)
    assert 1 - shares[0] - shares[-1] - 4 / 6 == pytest.approx(coverage_error(truth, draws).value)


def test_bars_are_the_shares(view):
    figure = calibration(view)
    for axes, shown in zip(figure.axes, view.shown, strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_allclose(heights, rank_shares(view.truth.expression, shown.prediction.draws))
        assert axes.lines[0].get_ydata()[0] == pytest.approx(1 / 4)
