"""Residuals on validation slides."""

import numpy as np
import pytest

from stbench.evaluation.predictions import SlidePrediction
from stbench.evaluation.spread import UNKNOWN, Residuals


@pytest.mark.parametrize("offers_mean", [True, False])
def test_the_standard_deviation_is_over_the_spots_of_all_slides(offers_mean):
    generator = np.random.default_rng(0)
    residuals, declared, direct = Residuals(), [], []
    for n_spots in (5, 40):
        truth, mean = generator.normal(7, 3, size=(2, n_spots, 4)).astype(np.float32)
        draws = generator.normal(size=(3, n_spots, 4)).astype(np.float32)
        residuals.add(truth, SlidePrediction(draws, mean if offers_mean else None))
        declared.append(truth - draws.mean(axis=0))
        direct.append(truth - mean)
    found = residuals.spread()
    np.testing.assert_allclose(found.prediction, np.concatenate(declared).std(axis=0), rtol=1e-5)
    if offers_mean:
        np.testing.assert_allclose(found.posterior_mean, np.concatenate(direct).std(axis=0), rtol=1e-5)
    else:
        assert found.posterior_mean is None


def test_without_slides_nothing_is_known():
    assert Residuals().spread() == UNKNOWN
