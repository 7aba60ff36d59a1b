import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from stbench.errors import DataError
from stbench.metrics import (
    coverage_error,
    crps,
    draw_variance,
    energy_score,
    interval_width,
    mae,
    variance_ratio,
    variogram_score,
)

from .scoring_rules import scoringrules


def stack(*values):
    return np.array(values, dtype=float).reshape(-1, 1, 1)


@pytest.mark.parametrize(("draws", "truth", "expected"), [((0, 1), 0, 0), ((0, 2, 4), 1, 1 / 3), ((4, 0, 2), 1, 1 / 3)])
def test_fair_crps_of_hand_sized_draws(draws, truth, expected):
    assert crps([[truth]], stack(*draws)) == pytest.approx(expected)


def test_scores_of_draws_equal_scoringrules():
    generator = np.random.default_rng(0)
    true, draws = generator.normal(size=(50, 12)), generator.normal(size=(5, 50, 12))
    expected = scoringrules.crps_ensemble(true, draws, m_axis=0, estimator="fair")
    np.testing.assert_allclose(crps(true, draws).per_gene, expected.mean(axis=0))
    assert not crps(true, draws).dressed
    energy = scoringrules.es_ensemble(true, draws, m_axis=0, estimator="fair").mean()
    assert energy_score(true, draws) == pytest.approx(energy / np.sqrt(12))
    variogram = scoringrules.vs_ensemble(true, draws, m_axis=0, p=0.5, estimator="fair").mean()  # both orders of a pair
    assert variogram_score(true, draws) == pytest.approx(variogram / (12 * 11))


def test_crps_of_a_point_prediction_is_that_of_a_normal_law_around_it(slide):
    true, pred, _ = slide()
    spread = np.linspace(0.1, 2, 12)
    score = crps(true, pred[None], spread)
    expected = scoringrules.crps_normal(true.astype(float), pred.astype(float), spread)
    np.testing.assert_allclose(score.per_gene, expected.mean(axis=0))
    assert score == pytest.approx(expected.mean())
    assert (score.dressed, score.n_used, score.n_undefined) == (True, 12, 0)


@pytest.mark.parametrize(("point", "spread", "truth"), [(0.0, 1.0, 0.0), (1.5, 0.4, 2.0), (0.2, 3.0, -4.0)])
def test_crps_of_a_normal_law_is_the_integral_of_squared_differences_of_laws(point, spread, truth):
    law, reach = norm(point, spread), 12 * spread
    below = quad(lambda x: law.cdf(x) ** 2, min(point, truth) - reach, truth)[0]
    above = quad(lambda x: law.sf(x) ** 2, truth, max(point, truth) + reach)[0]
    assert crps([[truth]], stack(point), [spread]) == pytest.approx(below + above, abs=1e-7)


def test_many_draws_of_the_law_around_a_point_score_as_the_point_does():
    generator = np.random.default_rng(0)
    true, point, spread = generator.normal(size=(2000, 2)), generator.normal(size=(2000, 2)), np.array([0.5, 1.5])
    draws = point + spread * generator.normal(size=(100, 2000, 2))
    assert crps(true, draws) == pytest.approx(crps(true, point[None], spread), abs=0.005)


def test_a_point_dressed_as_wide_as_its_errors_scores_best():
    generator = np.random.default_rng(0)
    point, spread = generator.normal(size=(20000, 3)), np.array([0.3, 1.0, 2.0])
    true = point + spread * generator.normal(size=point.shape)
    factors = [0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0]
    scores = np.array([crps(true, point[None], factor * spread).per_gene for factor in factors])
    assert list(scores.argmin(axis=0)) == [3, 3, 3]
    np.testing.assert_allclose(scores[3], spread / np.sqrt(np.pi), rtol=0.02)


def test_crps_of_a_point_without_spread(slide):
    true, pred, _ = slide()
    assert crps(true, pred[None], np.zeros(12)) == pytest.approx(mae(true, pred))
    score = crps(true, pred[None])
    assert (score.value, score.dressed) == (None, False)
    assert "residuals of a point prediction on validation slides" in score.reason


@pytest.mark.parametrize("spread", [[1.0], [-1.0] * 12, [np.nan] * 12])
def test_a_spread_that_does_not_fit_is_refused(slide, spread):
    true, pred, _ = slide()
    with pytest.raises(DataError, match="expected a finite spread of each of 12 genes"):
        crps(true, pred[None], spread)


@pytest.mark.parametrize("n_draws", [2, 8, 20])
def test_crps_of_a_perfect_sampler_does_not_depend_on_the_number_of_draws(n_draws):
    generator = np.random.default_rng(0)
    true, draws = generator.normal(size=(3000, 20)), generator.normal(size=(n_draws, 3000, 20))
    assert crps(true, draws) == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)


def test_crps_equals_the_double_sum_across_blocks_of_spots(slide):
    generator = np.random.default_rng(0)
    true, draws = generator.normal(size=(2500, 3)), generator.normal(size=(5, 2500, 3))
    pairs = np.abs(draws[:, None] - draws[None]).sum(axis=(0, 1)) / (2 * 5 * 4)
    expected = (np.abs(draws - true).mean(axis=0) - pairs).mean()
    before = draws.copy()
    assert crps(true, draws) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(draws, before)


def test_variance_ratio_is_the_median_over_genes_and_counts_flat_predictions():
    true = np.array([[0.0, 0, 0, 1], [1, 1, 1, 1]])
    score = variance_ratio(true, [[0, 0, 5, 0], [2, 1, 5, 1]])
    np.testing.assert_allclose(score.per_gene, [4, 1, 0, np.nan])
    assert (score, score.n_used, score.n_undefined) == (1, 3, 1)


def test_draw_variance_equals_numpy(slide):
    true, _, _ = slide()
    draws = np.random.default_rng(0).normal(5, 2, size=(6, *true.shape)).astype(np.float32)
    assert draw_variance(true, draws) == pytest.approx(draws.astype(float).var(axis=0, ddof=1).mean(), abs=1e-9)
    assert draw_variance(true, np.repeat(draws[:1], 4, axis=0)) == 0


@pytest.mark.parametrize("n_draws", [2, 8])
def test_coverage_error_of_a_perfect_sampler_is_zero_also_with_ties(n_draws):
    generator = np.random.default_rng(0)
    for sample in (generator.normal, lambda size: generator.poisson(0.7, size)):
        score = coverage_error(sample(size=(4000, 20)), sample(size=(n_draws, 4000, 20)))
        assert abs(score) < 0.01


def test_coverage_error_sees_draws_that_are_too_narrow_or_too_wide():
    generator = np.random.default_rng(0)
    true, draws = generator.normal(size=(2000, 5)), generator.normal(size=(8, 2000, 5))
    assert coverage_error(true, 0.3 * draws) < -0.2
    assert coverage_error(true, 3 * draws) > 0.1
    assert coverage_error([[1.0]], stack(0, 2, 4)) == pytest.approx(1 - 0.5)


@pytest.mark.parametrize("metric", [draw_variance, coverage_error])
def test_spread_of_one_draw_is_undefined(slide, metric):
    true, pred, _ = slide()
    score = metric(true, pred[None])
    assert (score.value, score.reason) == (None, "needs at least two draws, found one")


def test_draws_that_do_not_fit_are_refused(slide):
    true, pred, _ = slide()
    with pytest.raises(DataError, match=r"\(n_draws, \*\(121, 12\)\), found \(121, 12\)"):
        crps(true, pred)
    draws = np.stack([pred, pred])
    draws[1, 2, 3] = np.inf
    with pytest.raises(DataError, match="draw 1, found inf at spot 2, gene 3"):
        crps(true, draws)


@pytest.mark.parametrize(("n_genes", "expected"), [(1, 0.564), (50, 0.7036), (200, 0.7062)])
@pytest.mark.parametrize("n_draws", [2, 8])
def test_energy_score_of_a_perfect_sampler(n_genes, expected, n_draws):
    generator = np.random.default_rng(0)
    shape = (200_000 // n_genes if n_genes == 1 else 2000, n_genes)
    true, draws = generator.normal(size=shape), generator.normal(size=(n_draws, *shape))
    assert energy_score(true, draws) == pytest.approx(expected, abs=0.005)


def test_energy_score_of_one_gene_is_crps_and_of_one_draw_the_distance():
    generator = np.random.default_rng(0)
    true, draws = generator.normal(size=(50, 1)), generator.normal(size=(4, 50, 1))
    assert energy_score(true, draws) == pytest.approx(crps(true, draws))
    assert energy_score([[0.0, 0, 0, 0]], [[[1.0, 1, 1, 1]]]) == pytest.approx(1)


def correlated(generator, shape, correlation):
    """Normal genes of unit variance with one correlation between all."""
    common = generator.normal(size=(*shape[:-1], 1))
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * generator.normal(size=shape)


def test_what_missing_dependence_costs():
    """Genes with one correlation of 1/2: closed forms of a perfect sampler, and how much independent genes cost.

    For many genes and normal c, z, a perfect sampler has energy score E sqrt(c^2 + 1) / 2, and independent genes have
    E sqrt(c^2 / 2 + 3/2) - sqrt(1/2), 2 % more. The variogram score is the variance of |z|^1/2, and independent genes
    add the square of (2^1/4 - 1) E |z|^1/2, 20 % more.
    """
    generator = np.random.default_rng(0)
    true = correlated(generator, (3000, 100), 0.5)
    right, loose = correlated(generator, (8, 3000, 100), 0.5), generator.normal(size=(8, 3000, 100))
    z = generator.normal(size=10**6)
    root = np.sqrt(np.abs(z))
    assert energy_score(true, right) == pytest.approx(np.sqrt(z**2 + 1).mean() / 2, abs=0.01)
    expected = np.sqrt(z**2 / 2 + 1.5).mean() - np.sqrt(0.5)
    assert energy_score(true, loose) == pytest.approx(expected, abs=0.01)
    assert variogram_score(true, right) == pytest.approx(root.var(), abs=0.003)
    off = (2**0.25 - 1) * root.mean()
    assert variogram_score(true, loose) == pytest.approx(root.var() + off**2, abs=0.003)


def test_variogram_score_by_hand():
    assert variogram_score([[0.0, 4, 4]], [[[0, 1, 1]]]) == pytest.approx(((2 - 1) ** 2 + (2 - 1) ** 2 + 0) / 3)
    roots = np.array([1.0, 3])  # of two draws, truth 2
    expected = (2 - roots.mean()) ** 2 - roots.var(ddof=1) / 2
    assert variogram_score([[0.0, 4]], [[[0, 1]], [[0, 9]]]) == pytest.approx(expected)
    assert variogram_score([[0.0]], [[[1.0]]]).reason == "needs two genes, found one"


@pytest.mark.parametrize("n_draws", [2, 20])
def test_variogram_score_of_a_perfect_sampler_does_not_depend_on_the_number_of_draws(n_draws):
    generator = np.random.default_rng(1)
    true, draws = generator.normal(size=(3000, 10)), generator.normal(size=(n_draws, 3000, 10))
    variance_of_root = np.sqrt(np.abs(np.sqrt(2) * generator.normal(size=10**6))).var()
    assert variogram_score(true, draws) == pytest.approx(variance_of_root, abs=0.003)


def test_interval_width_of_normal_draws():
    """The range of two normal values is 2 / sqrt(pi) on average."""
    draws = np.random.default_rng(0).normal(size=(2, 4000, 20))
    assert interval_width(draws[0], draws) == pytest.approx(2 / np.sqrt(np.pi), abs=0.01)
    assert interval_width(draws[0], draws[:1]).value is None
