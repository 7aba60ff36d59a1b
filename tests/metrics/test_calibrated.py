"""Fair scores of draws that were scaled around their own mean."""

import numpy as np
import pytest

from stbench.errors import DataError
from stbench.methods.calibration import scaled
from stbench.metrics import crps, energy_score
from stbench.metrics.calibrated import factor, lengthened, lengths

TRUTH = 5.0  # far from 0, where float32 cannot keep the mean of scaled draws


def case(calibration, draws, n_spots=40_000):
    """Truths of variance 1 around a mean, and the calibrated draws of a sampler that knows the mean."""
    generator = np.random.default_rng(draws)
    truth = TRUTH + generator.normal(size=(n_spots, 1))
    drawn = TRUTH + generator.normal(size=(draws, n_spots, 1)) / np.sqrt(calibration)
    return truth, scaled(drawn.astype(np.float32), factor(calibration, draws))


@pytest.mark.parametrize(("calibration", "draws"), [(1, 5), (1.5, 8), (4, 2), (4, 20), (100, 2), (100, 5), (1e4, 8)])
def test_calibrated_draws_of_a_normal_law_score_what_any_number_of_them_would(calibration, draws):
    """A sampler that knows the mean and has the right spread has 1 / sqrt(pi), however it got the spread."""
    truth, drawn = case(calibration, draws)
    assert crps(truth, drawn, calibration=calibration) == pytest.approx(1 / np.sqrt(np.pi), abs=0.006)


def test_as_they_stand_few_draws_that_all_but_agree_would_win():
    truth, drawn = case(100, 2)
    assert crps(truth, drawn) == pytest.approx(np.sqrt(2 / 3 / np.pi), abs=0.006)


def test_a_wrong_mean_is_not_forgiven():
    truth, drawn = case(100, 5)
    assert crps(truth, drawn + 1, calibration=100) > crps(truth, drawn, calibration=100) + 0.1


def test_draws_of_the_right_spread_are_as_independent_ones():
    truth, drawn = case(1, 8, 50)
    assert lengths(1.0, 8) == lengths(None, 8) == (1, 1)
    for metric in (crps, energy_score):
        assert metric(truth, drawn, calibration=1.0) == metric(truth, drawn)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("claimed", [0.0, 0.3, 0.9, 1.2, 4.0])
def test_nothing_is_won_by_calling_independent_draws_calibrated(width, claimed):
    generator = np.random.default_rng(1)
    truth = TRUTH + generator.normal(size=(20_000, 1))
    drawn = TRUTH + width * generator.normal(size=(8, 20_000, 1))
    plain, called = crps(truth, drawn), crps(truth, drawn, calibration=claimed)
    assert called == plain if claimed < 1 else called > plain - 0.001


@pytest.mark.parametrize("calibration", [1.5, 3.0])
def test_distances_by_hand(calibration):
    """Two draws 1 and 3 of a truth 4: deviations of 1 from 2."""
    drawn = np.array([1.0, 3.0])[:, None, None]
    scale = np.sqrt((2 * calibration + 1) / 3)
    about, apart = np.sqrt(2 * calibration - 1) / scale, np.sqrt(calibration) / scale
    expected = (abs(2 - about - 4) + abs(2 + about - 4)) / 2 - apart * 2 / 2
    assert crps([[4.0]], drawn, calibration=calibration) == pytest.approx(expected)
    assert energy_score([[4.0]], drawn, calibration=calibration) == pytest.approx(expected)


def test_the_energy_score_of_one_gene_is_the_crps():
    truth, drawn = case(7, 5, 300)
    assert energy_score(truth, drawn, calibration=7.0) == pytest.approx(crps(truth, drawn, calibration=7.0))


def test_deviations_are_lengthened_around_the_mean():
    drawn = np.random.default_rng(0).normal(size=(4, 6, 3))
    longer = lengthened(drawn, 2.5)
    np.testing.assert_allclose(longer.mean(axis=0), drawn.mean(axis=0))
    np.testing.assert_allclose(longer.std(axis=0), 2.5 * drawn.std(axis=0))
    assert lengthened(drawn, 1) is drawn


@pytest.mark.parametrize("calibration", [-0.1, np.nan, np.inf])
def test_what_is_no_calibration(calibration):
    with pytest.raises(DataError, match="expected a calibration of 0 or more, found"):
        crps([[1.0]], np.ones((2, 1, 1)), calibration=calibration)
