from dataclasses import replace

import numpy as np
import pytest

from stbench.errors import DataError, SettingError
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.controls.means import SamePatientMean, TrainingMean
from stbench.methods.controls.neighbours import NeighbourSettings, RandomSpot, SpatialNeighbours
from stbench.methods.controls.oracle import TotalCounts
from stbench.methods.controls.ridge import ALPHAS, Ridge, RidgeSettings
from stbench.methods.controls.ridge_refit import RidgeRefit
from stbench.methods.registry import find_method, method_class

NAMES = (
    "training-mean",
    "same-patient-mean",
    "random-spot",
    "spatial-neighbours",
    "ridge",
    "ridge-refit",
    "ridge-rgb",
    "ridge-slide",
    "linear-gaussian",
    "total-counts",
)
CONTEXT = Context(genes=("A", "B", "C"))


def labelled(slide_id, patient, seed, n_spots=30, level=0.0):
    generator = np.random.default_rng(seed)
    array_xy = np.stack(np.divmod(np.arange(n_spots), 6), axis=1).astype(np.float32)
    features = generator.normal(size=(n_spots, 5)).astype(np.float32)
    depth = generator.integers(100, 5000, n_spots).astype(np.float64)
    signal = features[:, :3] + np.log1p(depth)[:, None] + level
    inputs = SlideInputs(slide_id, patient, features, array_xy * 290, array_xy, None, depth)
    noise = 0.1 * generator.normal(size=(n_spots, 3))
    return LabelledSlide(inputs, (signal + noise).astype(np.float32))


@pytest.fixture
def cohort():
    train = [labelled("A1", "A", 1), labelled("A2", "A", 2, n_spots=24), labelled("B1", "B", 3, level=4)]
    return train, [labelled("B2", "B", 4, level=4)], labelled("A3", "A", 5)


def fitted(name, cohort):
    train, validation, _ = cohort
    method = method_class(find_method(name))()
    method.fit(train, validation, CONTEXT)
    return method


@pytest.mark.parametrize("name", NAMES)
def test_shapes_types_and_seeds(cohort, name):
    inputs, card = cohort[2].inputs, find_method(name)
    method = fitted(name, cohort)
    assert method.refuse(cohort[0], [inputs], CONTEXT) is None
    prediction = method.predict(inputs, card.draws, seed=3)
    assert prediction.shape == (card.draws, 30, 3)
    assert prediction.dtype == np.float32
    assert np.isfinite(prediction).all()
    np.testing.assert_array_equal(prediction, fitted(name, cohort).predict(inputs, card.draws, seed=3))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_control_predicts_the_same(cohort, name, tmp_path):
    method = fitted(name, cohort)
    method.save(tmp_path / "checkpoint.safetensors")
    loaded = type(method).load(tmp_path / "checkpoint.safetensors")
    assert loaded.settings == method.settings
    for patient in ("A", "C", None):
        inputs = replace(cohort[2].inputs, patient=patient)
        np.testing.assert_array_equal(loaded.predict(inputs, 2, 0), method.predict(inputs, 2, 0))


@pytest.mark.parametrize("name", NAMES)
def test_slides_are_not_modified(cohort, name):
    train, validation, test = cohort
    slides = [*train, *validation, test]
    arrays = [a for s in slides for a in (s.expression, s.inputs.features, s.inputs.xy, s.inputs.total_counts)]
    before = [array.copy() for array in arrays]
    fitted(name, cohort).predict(test.inputs, 2, 0)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("ridge", "linear"))])
def test_validation_labels_do_not_matter(cohort, name):
    train, validation, test = cohort
    other = [replace(slide, expression=slide.expression[::-1] * 3) for slide in validation]
    first, second = fitted(name, cohort), fitted(name, (train, other, test))
    np.testing.assert_array_equal(first.predict(test.inputs, 2, 0), second.predict(test.inputs, 2, 0))


@pytest.mark.parametrize("name", NAMES)
def test_training_labels_matter(cohort, name):
    train, validation, test = cohort
    other = [replace(slide, expression=slide.expression + 1) for slide in train]
    first, second = fitted(name, cohort), fitted(name, (other, validation, test))
    assert np.abs(second.predict(test.inputs, 2, 0) - first.predict(test.inputs, 2, 0)).min() > 0.3


@pytest.mark.parametrize("name", ["ridge", "ridge-refit", "ridge-rgb", "total-counts", "training-mean"])
def test_the_patient_does_not_matter_to_those_that_do_not_use_it(cohort, name):
    method, inputs = fitted(name, cohort), cohort[2].inputs
    np.testing.assert_array_equal(method.predict(inputs, 1, 0), method.predict(replace(inputs, patient=None), 1, 0))


def test_training_mean_weights_spots_equally(cohort):
    expected = np.concatenate([slide.expression for slide in cohort[0]]).mean(axis=0)
    prediction = fitted("training-mean", cohort).predict(cohort[2].inputs, 1, 0)
    np.testing.assert_allclose(prediction, np.tile(expected, (1, 30, 1)), rtol=1e-6)


@pytest.mark.parametrize(("patient", "chosen"), [("A", (0, 1)), ("B", (2,)), ("C", (0, 1, 2)), (None, (0, 1, 2))])
def test_same_patient_mean_falls_back_to_all_training_spots(cohort, patient, chosen):
    expected = np.concatenate([cohort[0][number].expression for number in chosen]).mean(axis=0)
    prediction = fitted("same-patient-mean", cohort).predict(replace(cohort[2].inputs, patient=patient), 1, 0)
    np.testing.assert_allclose(prediction[0, 7], expected, rtol=1e-6)


def test_unknown_patients_are_not_one_patient():
    train = [labelled("X1", None, 1), labelled("X2", None, 2, level=5), labelled("A1", "A", 3)]
    test = labelled("X3", None, 4)
    means, everyone = SamePatientMean(), TrainingMean()
    for method in (means, everyone):
        method.fit(train, [], CONTEXT)
    np.testing.assert_array_equal(means.predict(test.inputs, 1, 0), everyone.predict(test.inputs, 1, 0))


def test_random_spot_copies_profiles_of_the_patient_and_draws_do_not_depend_on_their_number(cohort):
    method, inputs = fitted("random-spot", cohort), cohort[2].inputs
    draws = method.predict(inputs, 5, seed=0)
    own = {row.tobytes() for slide in cohort[0][:2] for row in slide.expression}
    assert {row.tobytes() for row in draws.reshape(-1, 3)} <= own
    np.testing.assert_array_equal(method.predict(inputs, 2, seed=0), draws[:2])
    assert not np.array_equal(draws[0], draws[1])
    assert not np.array_equal(method.predict(inputs, 1, seed=1)[0], draws[0])
    assert not np.array_equal(method.predict(replace(inputs, slide_id="A9"), 1, seed=0)[0], draws[0])


def test_one_spatial_neighbour_copies_the_spot_at_the_same_place(cohort):
    train, _, test = cohort
    method = SpatialNeighbours(NeighbourSettings(k=1))
    method.fit([train[0], train[2]], [], CONTEXT)
    np.testing.assert_array_equal(method.predict(test.inputs, 1, 0)[0], train[0].expression)


def test_spatial_neighbours_average_over_all_slides_of_the_patient(cohort):
    train, _, test = cohort
    method = SpatialNeighbours(NeighbourSettings(k=2))
    method.fit(train, [], CONTEXT)
    expected = (train[0].expression[:24] + train[1].expression) / 2
    np.testing.assert_allclose(method.predict(test.inputs, 1, 0)[0, :24], expected, rtol=1e-6)


def test_more_neighbours_than_spots_give_the_mean(cohort):
    train, _, test = cohort
    method = SpatialNeighbours(NeighbourSettings(k=10_000))
    method.fit(train, [], CONTEXT)
    expected = np.concatenate([slide.expression for slide in train[:2]]).mean(axis=0)
    np.testing.assert_allclose(method.predict(test.inputs, 1, 0)[0], np.tile(expected, (30, 1)), rtol=1e-5)


def test_spatial_neighbours_fall_back_to_pitches_from_the_centroid_for_a_slide_without_array_positions(cohort):
    train, _, test = cohort
    method = SpatialNeighbours(NeighbourSettings(k=1))
    method.fit([train[0], train[2]], [], CONTEXT)
    moved = replace(test.inputs, array_xy=None, xy=test.inputs.xy * 0.7 + 5000)
    assert method.refuse(train, [moved], CONTEXT) is None
    np.testing.assert_array_equal(method.predict(moved, 1, 0)[0], train[0].expression)


def test_spatial_neighbours_refuse_slides_without_any_array_position(cohort):
    train, _, test = cohort
    bare = [replace(slide, inputs=replace(slide.inputs, array_xy=None)) for slide in (*train, test)]
    reason = SpatialNeighbours().refuse(bare[:3], [bare[3].inputs], CONTEXT)
    assert reason is not None
    assert "array positions" in reason


def test_ridge_equals_the_augmented_least_squares(cohort):
    train, _, test = cohort
    method = Ridge(RidgeSettings(alpha=3.0, clip=1.5))
    method.fit(train, [], CONTEXT)
    x, y = (
        np.concatenate(parts).astype(float)
        for parts in zip(*[(s.inputs.features, s.expression) for s in train], strict=True)
    )
    z = np.clip((x - x.mean(axis=0)) / x.std(axis=0), -1.5, 1.5)
    design = np.block([[np.ones((len(z), 1)), z], [np.zeros((5, 1)), np.sqrt(3.0) * np.eye(5)]])
    solution = np.linalg.lstsq(design, np.concatenate([y, np.zeros((5, 3))]), rcond=None)[0]
    wanted = np.clip((test.inputs.features - x.mean(axis=0)) / x.std(axis=0), -1.5, 1.5) @ solution[1:] + solution[0]
    np.testing.assert_allclose(method.predict(test.inputs, 1, 0)[0], wanted, atol=1e-5)


def test_ridge_keeps_the_penalty_with_the_lowest_validation_error(cohort):
    train, _, test = cohort
    validation = [test]
    errors = []
    for alpha in ALPHAS:
        method = Ridge(RidgeSettings(alpha=alpha))
        method.fit(train, validation, CONTEXT)
        errors.append(np.square(method.predict(test.inputs, 1, 0)[0] - test.expression).mean())
    chosen = Ridge()
    chosen.fit(train, validation, CONTEXT)
    assert chosen.alpha_ == ALPHAS[int(np.argmin(errors))]


def test_ridge_refit_is_ridge_on_all_slides_and_ridge_itself_where_that_saw_nothing(cohort):
    train, validation, test = cohort
    ridge, refit = fitted("ridge", cohort), fitted("ridge-refit", cohort)
    both = Ridge(RidgeSettings(alpha=ridge.alpha_))
    both.fit([*train, *validation], [], CONTEXT)
    assert refit.alpha_ == ridge.alpha_
    for inputs in (test.inputs, train[0].inputs, replace(test.inputs, slide_id=validation[0].inputs.slide_id)):
        np.testing.assert_array_equal(refit.predict(inputs, 1, 0), both.predict(inputs, 1, 0))
    held_out = validation[0].inputs
    np.testing.assert_array_equal(refit.predict(held_out, 1, 0), ridge.predict(held_out, 1, 0))
    assert np.abs(ridge.predict(test.inputs, 1, 0) - refit.predict(test.inputs, 1, 0)).max() > 0.01


def test_ridge_refit_without_validation_slides_is_ridge(cohort):
    ridge, refit = Ridge(RidgeSettings(alpha=3.0)), RidgeRefit(RidgeSettings(alpha=3.0))
    for method in (ridge, refit):
        method.fit(cohort[0], [], CONTEXT)
    np.testing.assert_array_equal(refit.predict(cohort[2].inputs, 1, 0), ridge.predict(cohort[2].inputs, 1, 0))


def test_ridge_on_shuffled_features_falls_to_the_training_mean():
    train, validation = [labelled("A1", "A", 1, n_spots=600)], [labelled("A2", "A", 2, n_spots=600)]
    generator = np.random.default_rng(0)
    shuffled = [
        replace(s, inputs=replace(s.inputs, features=generator.permutation(s.inputs.features)))
        for s in train + validation
    ]
    method = Ridge()
    method.fit(shuffled[:1], shuffled[1:], CONTEXT)
    prediction = method.predict(validation[0].inputs, 1, 0)[0]
    assert prediction.std(axis=0).max() < 0.15 * train[0].expression.std(axis=0).min()


def widened(slide):
    generator = np.random.default_rng(0)
    extra = generator.normal(size=(slide.inputs.n_spots, 200)).astype(np.float32)
    extra[:, :3] = 7.7
    return replace(slide, inputs=replace(slide.inputs, features=np.concatenate([slide.inputs.features, extra], axis=1)))


def test_ridge_survives_features_that_do_not_vary_and_more_features_than_spots(cohort):
    train, validation, test = cohort
    method = Ridge()
    method.fit([widened(slide) for slide in train], [widened(slide) for slide in validation], CONTEXT)
    np.testing.assert_allclose(method.coefficients_[5:8], 0, atol=1e-9)
    assert np.isfinite(method.predict(widened(test).inputs, 1, 0)).all()


def test_ridge_without_validation_slides_asks_for_alpha(cohort):
    with pytest.raises(SettingError, match="alpha"):
        Ridge().fit(cohort[0], [], CONTEXT)


def test_total_counts_equals_a_line_fitted_gene_by_gene(cohort):
    train, _, test = cohort
    depth = np.log1p(np.concatenate([slide.inputs.total_counts for slide in train]))
    expression = np.concatenate([slide.expression for slide in train])
    slope, intercept = np.polyfit(depth, expression.astype(float), 1)
    expected = np.log1p(test.inputs.total_counts)[:, None] * slope + intercept
    np.testing.assert_allclose(fitted("total-counts", cohort).predict(test.inputs, 1, 0)[0], expected, rtol=1e-5)


def test_total_counts_refuses_slides_without_them(cohort):
    train, _, test = cohort
    blind = replace(test.inputs, total_counts=None)
    assert "A3" in (TotalCounts().refuse(train, [blind], CONTEXT) or "")
    with pytest.raises(DataError, match="slide A3: expected total counts"):
        fitted("total-counts", cohort).predict(blind, 1, 0)


def test_an_empty_spot_and_equal_depths_give_finite_predictions(cohort):
    train, validation, test = cohort
    flat = [replace(s, inputs=replace(s.inputs, total_counts=np.zeros(len(s.expression)))) for s in train]
    assert np.isfinite(fitted("total-counts", (flat, validation, test)).predict(flat[0].inputs, 1, 0)).all()


def test_random_spot_draws_from_everybody_for_a_new_patient(cohort):
    method = RandomSpot()
    method.fit(cohort[0], [], CONTEXT)
    drawn = method.predict(replace(cohort[2].inputs, patient="Z"), 20, 0).reshape(-1, 3)
    assert {row.tobytes() for row in drawn} & {row.tobytes() for row in cohort[0][2].expression}
