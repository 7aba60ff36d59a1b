from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, norm

from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.controls.linear_gaussian.field import LENGTHS, Field, draw_noise, fit_field, mixed, waves
from stbench.methods.controls.linear_gaussian.margins import Normal, Table
from stbench.methods.controls.linear_gaussian.method import LinearGaussian, LinearGaussianSettings
from stbench.methods.controls.linear_gaussian.residuals import folds_of, held_out
from stbench.methods.controls.ridge import Ridge, RidgeSettings
from stbench.metrics import crps, morans_i, spatial_weights

GENES = ("A", "B", "C")
CONTEXT = Context(genes=GENES, scale="cp10k-log1p")
COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 1.0]])
SPREAD = np.array([0.5, 1.0, 2.0])


def grid(side, pitch=200):
    return (np.stack(np.divmod(np.arange(side**2), side), axis=1) * pitch).astype(np.float32)


def exponential(xy, length, generator, n_fields):
    """(n_spots, n_fields) Gaussian fields with the correlation ``exp(-distance / length)``, by Cholesky."""
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    root = np.linalg.cholesky(np.exp(-distance / length) + 1e-9 * np.eye(len(xy)))
    return root @ generator.normal(size=(len(xy), n_fields))


def labelled(slide_id, patient, seed, side=16, smooth=0.0):
    """Linear in the features; residuals have COVARIANCE, SPREAD, and a smooth share of length 2 pitches."""
    generator = np.random.default_rng(seed)
    xy, n = grid(side), side**2
    features = generator.normal(size=(n, 4)).astype(np.float32)
    white = generator.normal(size=(n, 3))
    field = exponential(xy / 200, 2.0, generator, 3) if smooth else white
    noise = (np.sqrt(smooth) * field + np.sqrt(1 - smooth) * white) @ np.linalg.cholesky(COVARIANCE).T
    slopes = np.random.default_rng(99).normal(size=(4, 3))
    expression = 20 + features @ slopes + SPREAD * noise
    return LabelledSlide(SlideInputs(slide_id, patient, features, xy), expression.astype(np.float32))


def cohort(smooth=0.0):
    train = [labelled(f"S{number}", f"P{number}", number, smooth=smooth) for number in range(4)]
    return train, [labelled("V", "PV", 20, smooth=smooth)], labelled("T", "PT", 21, smooth=smooth)


def fitted(train, validation, context=CONTEXT, **settings):
    method = LinearGaussian(LinearGaussianSettings(**settings))
    method.fit(train, validation, context)
    return method


@pytest.fixture(scope="module")
def rough():
    return cohort()


@pytest.fixture(scope="module")
def smooth():
    return cohort(smooth=0.8)


def test_the_mean_is_that_of_ridge(rough):
    train, validation, test = rough
    ridge = Ridge()
    ridge.fit(train, validation, CONTEXT)
    mean = fitted(train, validation).predict_mean(test.inputs, 0)
    np.testing.assert_array_equal(mean, ridge.predict(test.inputs, 1, 0)[0])


@pytest.mark.parametrize("margin", ["normal", "table"])
def test_moments_of_draws_are_those_of_the_residuals(rough, margin):
    train, validation, test = rough
    method = fitted(train, validation, margin=margin, spread=1.0, gain=0.0)
    away = method.predict(test.inputs, 60, 0) - method.predict_mean(test.inputs, 0)
    away = away.reshape(-1, 3)
    np.testing.assert_allclose(away.mean(axis=0) / SPREAD, 0, atol=0.05)
    np.testing.assert_allclose(away.std(axis=0), SPREAD, rtol=0.06)
    np.testing.assert_allclose(np.corrcoef(away.T), COVARIANCE, atol=0.06)


def test_the_spread_halves_with_its_setting(rough):
    train, validation, test = rough
    wide, narrow = (fitted(train, validation, spread=spread, gain=0.0) for spread in (1.0, 0.5))
    mean = wide.predict_mean(test.inputs, 0)
    away = [method.predict(test.inputs, 2, 0) - mean for method in (wide, narrow)]
    np.testing.assert_allclose(away[1], away[0] / 2, atol=1e-5)


@pytest.mark.parametrize("margin", ["normal", "table"])
def test_crps_of_the_draws_is_that_of_the_true_law(rough, margin):
    train, validation, test = rough
    method = fitted(train, validation, margin=margin)
    found = crps(test.expression, method.predict(test.inputs, 50, 0)).value
    z = (test.expression - method.predict_mean(test.inputs, 0)) / SPREAD
    true = SPREAD * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))  # Gneiting and Raftery 2007
    assert found == pytest.approx(true.mean(), rel=0.03)


def test_draws_do_not_depend_on_their_number_and_are_independent(rough):
    train, validation, test = rough
    method = fitted(train, validation)
    draws = method.predict(test.inputs, 8, 0)
    np.testing.assert_array_equal(method.predict(test.inputs, 3, 0), draws[:3])
    away = (draws - method.predict_mean(test.inputs, 0)).reshape(8, -1)
    between = np.corrcoef(away)[np.triu_indices(8, 1)]
    assert np.abs(between).max() < 0.2
    assert abs(between.mean()) < 0.05
    assert not np.array_equal(method.predict(test.inputs, 1, 1), draws[:1])
    assert not np.array_equal(method.predict(replace(test.inputs, slide_id="U"), 1, 0), draws[:1])


def test_draws_are_as_smooth_as_residuals(smooth, rough):
    def moran(slides, gain=None):
        train, validation, test = slides
        method = fitted(train, validation, gain=gain)
        mean, weights = method.predict_mean(test.inputs, 0), spatial_weights(test.inputs.xy)
        drawn = [morans_i(draw - mean, weights).mean() for draw in method.predict(test.inputs, 12, 0)]
        return np.mean(drawn), morans_i(test.expression - mean, weights).mean()

    drawn, true = moran(smooth, gain=1.0)
    assert true > 0.25
    assert drawn == pytest.approx(true, abs=0.1)
    assert abs(moran(smooth, gain=0.0)[0]) < 0.05
    assert abs(moran(rough, gain=1.0)[0]) < 0.06


def test_validation_slides_set_the_spread_and_the_gain(smooth, rough):
    train, _, _ = smooth
    (narrow,) = rough[1]
    mean = fitted(train, [], alpha=1.0).predict_mean(narrow.inputs, 0)
    halved = replace(narrow, expression=(mean + 0.6 * (narrow.expression - mean)).astype(np.float32))
    method = fitted(train, [halved], alpha=1.0)
    assert method.spread_ == pytest.approx(0.6, abs=0.1)
    assert method.gain_ <= 0.25


@pytest.mark.parametrize("length", [1.0, 2.0, 4.0])
def test_the_length_and_share_of_a_field_are_found_again(length):
    generator, positions = np.random.default_rng(0), grid(20, 1).astype(float)
    scores = [
        np.sqrt(0.8) * exponential(positions, length, generator, 2) + np.sqrt(0.2) * generator.normal(size=(400, 2))
        for _ in range(12)
    ]
    field = fit_field(scores, [positions] * 12)
    assert set(LENGTHS[field.length]) <= {length / 2, length, length * 2}
    weights = spatial_weights(positions)
    found = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        noise = draw_noise(field, positions, generator)
        drawn = mixed(field, noise, waves(field, noise, positions), generator.standard_normal((400, 2)), 1.0)
        found.append(morans_i(drawn, weights).mean())
    assert np.mean(found) == pytest.approx(np.mean([morans_i(one, weights).mean() for one in scores]), abs=0.06)


def test_waves_have_the_exponential_correlation():
    """In a corner of a large slide, where the slide's own mean takes little away."""
    positions = grid(40, 1).astype(float)
    field = Field(np.zeros((1, 4)), np.eye(4), np.ones(4), np.full(4, 1))
    products = np.zeros(4)
    for seed in range(30):
        noise = draw_noise(field, positions, np.random.default_rng(seed))
        values = waves(field, noise, positions).reshape(40, 40, 4)
        products += [(values[:, lag:] * values[:, : 40 - lag]).mean() for lag in (0, 1, 2, 4)]
    np.testing.assert_allclose(products / 30, np.exp(-np.array([0, 1, 2, 4]) / 2), atol=0.05)


def test_offsets_are_normal_with_the_variance_between_slides():
    generator, positions = np.random.default_rng(0), grid(10, 1).astype(float)
    levels = np.array([-1.0, 0, 1])
    scores = [level + generator.normal(size=(100, 2)) for level in levels]
    field = fit_field(scores, [positions] * 3)
    share = np.square(field.offsets).sum(axis=0)
    np.testing.assert_allclose(share, 1 / (1 + 1), atol=0.08)
    np.testing.assert_allclose(share + np.square(field.loadings).sum(axis=1), 1, rtol=1e-6)
    drawn = [draw_noise(field, positions, np.random.default_rng(seed)).offset[0] for seed in range(300)]
    assert kstest(np.array(drawn) / np.sqrt(share[0]), norm.cdf).pvalue > 0.01


def test_held_out_predictions_equal_ridge_on_the_other_patients(rough):
    train, _, _ = rough
    full = Ridge(RidgeSettings(alpha=5.0))
    full.fit(train, [], CONTEXT)
    found = held_out(train, folds_of(train), full._standardise, 5.0)
    z = [full._standardise(slide.inputs) for slide in train]
    x, y = np.concatenate(z[1:]), np.concatenate([slide.expression for slide in train[1:]]).astype(float)
    design = np.block([[np.ones((len(x), 1)), x], [np.zeros((4, 1)), np.sqrt(5.0) * np.eye(4)]])
    solution = np.linalg.lstsq(design, np.concatenate([y, np.zeros((4, 3))]), rcond=None)[0]
    np.testing.assert_allclose(found[0], z[0] @ solution[1:] + solution[0], atol=1e-8)


def test_folds_are_patients_then_slides_then_strips(rough):
    train, _, _ = rough
    assert [set(fold) for fold in folds_of(train)] == [{0}, {1}, {2}, {3}]
    two = [replace(slide, inputs=replace(slide.inputs, patient="PA")) for slide in train]
    assert [set(fold) for fold in folds_of(two)] == [{0}, {1}, {2}, {3}]
    strips = folds_of(two[:2])[0]
    assert np.bincount(strips).tolist() == [52, 51, 51, 51, 51]
    last = train[0].inputs.xy[:, 0]
    assert last[strips == 0].max() <= last[strips == 1].min()


def test_the_table_knows_that_residuals_grow_with_the_mean():
    generator = np.random.default_rng(0)
    mean = generator.uniform(0, 4, (4000, 1))
    residuals = mean * (generator.exponential(size=mean.shape) - 1)
    table, normal = (kind.fit(mean, residuals) for kind in (Table, Normal))
    scores = table.scores(mean, residuals)
    assert kstest(scores[:, 0], norm.cdf).statistic < 0.03
    noise = generator.normal(size=mean.shape)
    for low, high in ((0.5, 1), (3, 3.5)):
        here = (mean > low) & (mean < high)
        true = residuals[here]
        drawn = table.residuals(mean, noise)[here]
        np.testing.assert_allclose(
            np.quantile(drawn, [0.1, 0.5, 0.9]), np.quantile(true, [0.1, 0.5, 0.9]), atol=0.35 * true.std()
        )
    assert normal.residuals(mean, noise)[mean < 1].std() > 2 * table.residuals(mean, noise)[mean < 1].std()


@pytest.mark.parametrize("margin", ["normal", "table"])
def test_draws_are_values_a_slide_could_hold(margin):
    generator = np.random.default_rng(0)

    def counted(slide):
        return replace(slide, expression=np.log1p(generator.poisson(2, slide.expression.shape)).astype(np.float32))

    train, validation, test = cohort()
    method = fitted([counted(one) for one in train], [counted(one) for one in validation], Context(genes=GENES))
    counts = np.expm1(method.predict(test.inputs, 4, 0).astype(float))
    assert counts.min() >= 0
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)


@pytest.mark.parametrize("margin", ["normal", "table"])
def test_a_constant_gene_stays_constant(rough, margin):
    def flat(slide):
        expression = slide.expression.copy()
        expression[:, 1] = 2.5
        return replace(slide, expression=expression)

    train, validation, test = ([flat(one) for one in part] for part in (rough[0], rough[1], [rough[2]]))
    draws = fitted(train, validation, margin=margin).predict(test[0].inputs, 3, 0)
    np.testing.assert_allclose(draws[..., 1], 2.5, atol=1e-5)
    assert draws[..., 0].std() > 0


def test_one_spot_to_predict_to_train_on_and_to_validate_on(rough):
    train, validation, test = rough

    def alone(slide):
        inputs = replace(slide.inputs, features=slide.inputs.features[:1], xy=slide.inputs.xy[:1])
        return LabelledSlide(inputs, slide.expression[:1])

    drawn = fitted(train, validation, gain=1.0).predict(alone(test).inputs, 400, 0)
    assert drawn.std(axis=0)[0] == pytest.approx(SPREAD, rel=0.2)
    for slides in (([*train, alone(test)], validation), (train, [alone(test)]), ([alone(test)], [alone(test)])):
        assert np.isfinite(fitted(*slides).predict(test.inputs, 2, 0)).all()


def test_without_validation_nothing_is_scaled(rough):
    method = fitted(rough[0], [], alpha=10.0)
    assert (method.spread_, method.gain_) == (1.0, 1.0)
