from dataclasses import replace

import numpy as np
import pytest

from stbench.errors import SettingError
from stbench.evaluation.predictions import SlidePrediction
from stbench.evaluation.spread import Residuals
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.controls.ridge_slide import RidgeSlide, RidgeSlideSettings

CONTEXT = Context(genes=("A", "B", "C"))


def labelled(slide_id, patient, seed, n_spots=30, level=0.0, stain=0.0):
    """Expression is linear in the features; ``stain`` moves the features of a slide, ``level`` its expression."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n_spots, 4)) * [1, 3, 0.2, 1]
    slopes = np.random.default_rng(99).normal(size=(4, 3))
    expression = 5 + level + features @ slopes + 0.1 * generator.normal(size=(n_spots, 3))
    xy = np.stack(np.divmod(np.arange(n_spots), 6), axis=1).astype(np.float32)
    inputs = SlideInputs(slide_id, patient, (features + stain).astype(np.float32), xy)
    return LabelledSlide(inputs, expression.astype(np.float32))


@pytest.fixture
def slides():
    return [
        labelled("A1", "A", 1),
        labelled("A2", "A", 2, n_spots=12, level=1),
        labelled("B1", "B", 3, level=-2, stain=1),
        labelled("C1", "C", 4, stain=-1),
    ]


TEST = labelled("D1", "D", 5, stain=2).inputs


def fitted(train, validation=(), **settings):
    method = RidgeSlide(RidgeSlideSettings(**settings))
    method.fit(train, list(validation), CONTEXT)
    return method


def predicted(train, inputs=TEST, validation=(), **settings):
    return fitted(train, validation, **settings).predict(inputs, 1, 0)[0]


def moved(slide, features=0.0, expression=0.0):
    inputs = replace(slide.inputs, features=(slide.inputs.features + features).astype(np.float32))
    return LabelledSlide(inputs, (slide.expression + expression).astype(np.float32))


def test_one_feature_by_hand():
    inputs = SlideInputs("S", "P", np.array([[1.0], [3.0]], dtype=np.float32), np.zeros((2, 2), dtype=np.float32))
    train = [LabelledSlide(inputs, np.array([[10.0], [14.0]], dtype=np.float32))]
    test = replace(inputs, features=np.array([[2.0], [5.0], [5.0]], dtype=np.float32), xy=np.zeros((3, 2)))
    # sigma 1, w^2 = 153, z = -w, w: B w = (153 * 2 * 2) / (153 * 2 + 306) = 1; m = 12, u = 2; the slide's mean is 4
    assert predicted(train, test, alpha=306.0)[:, 0] == pytest.approx([12 + 2 - 2, 12 + 2 + 1, 12 + 2 + 1])


@pytest.mark.parametrize("blocks", [(), (1, 3)])
def test_equals_least_squares_with_an_indicator_of_every_slide(slides, blocks):
    """Without clipping, centring is the same as a free intercept per slide, and weights are penalties per feature."""
    two = slides[:3]
    method = fitted(two, alpha=7.0, clip=1e9, blocks=blocks)
    x, y = (
        np.concatenate(part).astype(float)
        for part in zip(*[(s.inputs.features, s.expression) for s in two], strict=True)
    )
    slide_of_spot = np.repeat(np.arange(3), [s.inputs.n_spots for s in two])
    within = x - np.stack([x[slide_of_spot == s].mean(axis=0) for s in range(3)])[slide_of_spot]
    weights = np.sqrt(153 / np.repeat(blocks or (4,), blocks or (4,))) / np.sqrt((within**2).mean(axis=0))
    design = np.block(
        [[x * weights, np.eye(3)[slide_of_spot]], [np.sqrt(7.0) * np.eye(4), np.zeros((4, 3))]]
    )  # fmt: skip
    solution = np.linalg.lstsq(design, np.concatenate([y, np.zeros((4, 3))]), rcond=None)[0]
    np.testing.assert_allclose(method.coefficients_, solution[:4], atol=1e-9)


def test_validation_slides_are_training_slides(slides):
    np.testing.assert_allclose(predicted(slides), predicted(slides[:2], validation=slides[2:]), rtol=1e-6)


def test_a_shift_of_a_training_slide_moves_nothing_but_the_level(slides):
    before = predicted(slides)
    after = predicted([moved(slides[0], [4, -2, 0.5, 1], [1, 2, 3]), *slides[1:]])
    np.testing.assert_allclose(after - after.mean(axis=0), before - before.mean(axis=0), atol=1e-4)


def test_a_shift_of_all_expression_shifts_the_prediction(slides):
    after = predicted([moved(slide, expression=[1, 2, 3]) for slide in slides])
    np.testing.assert_allclose(after, predicted(slides) + np.array([1, 2, 3]), atol=1e-4)


def test_a_shift_of_the_test_slide_moves_nothing_but_the_level(slides):
    test = replace(TEST, features=TEST.features + np.float32(1.5))
    two_patients = slides[:3]
    before, after = predicted(two_patients), predicted(two_patients, test)
    np.testing.assert_allclose(after - after.mean(axis=0), before - before.mean(axis=0), atol=1e-4)
    assert np.abs(after - before).max() > 0.1


def test_patients_weigh_the_same_whatever_their_slides(slides):
    method = fitted(slides)
    of_slide = [slide.expression.mean(axis=0) for slide in slides]
    wanted = ((of_slide[0] + of_slide[1]) / 2 + of_slide[2] + of_slide[3]) / 3
    np.testing.assert_allclose(method.expression_mean_, wanted, rtol=1e-6)


def test_order_of_slides_and_spots_does_not_matter(slides):
    turned = [
        LabelledSlide(
            replace(slide.inputs, features=slide.inputs.features[::-1], xy=slide.inputs.xy[::-1]),
            slide.expression[::-1],
        )
        for slide in reversed(slides)
    ]
    np.testing.assert_allclose(predicted(turned), predicted(slides), atol=1e-5)
    flipped = replace(TEST, features=TEST.features[::-1], xy=TEST.xy[::-1])
    np.testing.assert_allclose(predicted(slides, flipped)[::-1], predicted(slides), atol=1e-5)


def test_levels_that_follow_the_features_are_believed_and_others_are_not(slides):
    def cohort(sign):
        shifts = np.array([-2.0, -1, 0, 1, 2])
        slopes = np.random.default_rng(99).normal(size=(4, 3))
        made = [labelled(f"{p}1", p, 10 + i, 200) for i, p in enumerate("ABCDE")]
        return [
            moved(slide, [shift, 0, 0, 0], sign * shift * slopes[0])
            for slide, shift in zip(made, shifts, strict=True)
        ]  # fmt: skip

    assert fitted(cohort(1), alpha=1.0, level_clip=1e9).rho_ == pytest.approx(1, abs=0.05)
    assert fitted(cohort(-1)).rho_ == 0
    assert fitted(slides[:3]).rho_ == 1


def test_unknown_patients_are_not_one_patient(slides):
    unknown = [replace(slide, inputs=replace(slide.inputs, patient=None)) for slide in slides]
    np.testing.assert_allclose(
        fitted(unknown).expression_mean_, np.mean([s.expression.mean(axis=0) for s in slides], axis=0), rtol=1e-6
    )


def test_a_lone_spot_gets_the_level_of_its_slide(slides):
    alone = replace(TEST, features=TEST.features[:1], xy=TEST.xy[:1])
    method = fitted(slides)
    z = np.clip((TEST.features[0] - method.feature_mean_) / method.scale_, -3, 3) * np.sqrt(153 / 4)
    wanted = method.expression_mean_ + method.rho_ * z @ method.coefficients_
    np.testing.assert_allclose(method.predict(alone, 1, 0)[0, 0], wanted, rtol=1e-5)


def test_features_that_vary_between_slides_alone_count_for_nothing(slides):
    flat = [
        replace(s, inputs=replace(s.inputs, features=np.c_[s.inputs.features, np.full(s.inputs.n_spots, i * 1e4)]))
        for i, s in enumerate(slides)
    ]
    method = fitted(flat)
    np.testing.assert_array_equal(method.coefficients_[4], 0)
    assert np.isfinite(method.predict(flat[0].inputs, 1, 0)).all()


def test_a_validation_slide_is_predicted_by_a_fit_without_it(slides):
    method = fitted(slides[:2], slides[2:])
    for own, other in [(2, 3), (3, 2)]:
        without = predicted([*slides[:2], slides[other]], slides[own].inputs)
        np.testing.assert_array_equal(method.predict(slides[own].inputs, 1, 0)[0], without)
        assert np.abs(predicted(slides, slides[own].inputs) - without).max() > 0.01


def test_the_width_of_its_prediction_is_that_of_leaving_slides_out(slides):
    """Features of noise alone: in sample they explain something, out of sample nothing."""
    generator = np.random.default_rng(0)
    noise = [
        LabelledSlide(replace(s.inputs, features=generator.normal(size=(s.inputs.n_spots, 20)).astype(np.float32)), y)
        for s, y in ((s, generator.normal(size=s.expression.shape).astype(np.float32)) for s in slides)
    ]
    method, whole = fitted(noise[:2], noise[2:], alpha=1.0), fitted(noise, alpha=1.0)
    apart, inside, by_hand = Residuals(), Residuals(), []
    for own, rest in ((2, [0, 1, 3]), (3, [0, 1, 2])):
        slide = noise[own]
        apart.add(slide.expression, SlidePrediction(method.predict(slide.inputs, 1, 0)))
        inside.add(slide.expression, SlidePrediction(whole.predict(slide.inputs, 1, 0)))
        by_hand.append(slide.expression - predicted([noise[i] for i in rest], slide.inputs, alpha=1.0))
    found = apart.spread().prediction
    np.testing.assert_allclose(found, np.concatenate(by_hand).std(axis=0), rtol=1e-5)
    assert (found > inside.spread().prediction).all()


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e9])
def test_the_unit_of_features_does_not_matter(slides, unit):
    def scaled(slide):
        return LabelledSlide(replace(slide.inputs, features=slide.inputs.features * np.float32(unit)), slide.expression)

    other = replace(slides[3].inputs, features=slides[0].inputs.features)
    for inputs in (TEST, slides[3].inputs, other):  # the last is no validation slide though it is called as one
        found = predicted(
            [scaled(slide) for slide in slides[:3]], scaled(LabelledSlide(inputs, None)).inputs, [scaled(slides[3])]
        )
        assert found == pytest.approx(predicted(slides[:3], inputs, [slides[3]]), rel=1e-4)


def test_other_slides_are_predicted_from_all_of_them(slides):
    np.testing.assert_array_equal(predicted(slides), fitted(slides[:2], slides[2:]).predict(TEST, 1, 0)[0])
    namesake = replace(TEST, slide_id=slides[3].inputs.slide_id)
    np.testing.assert_array_equal(predicted(slides), predicted(slides[:2], namesake, slides[2:]))


def test_a_validation_patient_who_trains_nothing_is_left_out_whole(slides):
    sister = labelled("C2", "C", 8, stain=-1)
    before = fitted(slides[:3], [slides[3], sister])
    after = fitted(slides[:3], [slides[3], moved(sister, expression=9.0)])
    own = slides[3].inputs
    np.testing.assert_array_equal(before.predict(own, 1, 0), after.predict(own, 1, 0))
    trained = [labelled("C3", "C", 9), *slides[:3]]
    before, after = (fitted(trained, [slides[3], one]) for one in (sister, moved(sister, expression=9.0)))
    assert np.abs(before.predict(own, 1, 0) - after.predict(own, 1, 0)).max() > 0.1


def test_a_model_file_keeps_the_fits_without_validation_slides(slides, tmp_path):
    method = fitted(slides[:2], slides[2:])
    method.save(tmp_path / "model.safetensors")
    loaded = RidgeSlide.load(tmp_path / "model.safetensors")
    for inputs in (TEST, slides[2].inputs):
        np.testing.assert_array_equal(loaded.predict(inputs, 1, 0), method.predict(inputs, 1, 0))


def test_a_model_file_from_before_predicts_what_it_did(slides, tmp_path):
    method = fitted(slides)  # without validation slides nothing of them is kept, as before
    assert not [name for name in vars(method) if name.startswith("apart_") and name != "apart_"]
    del method.apart_
    method.save(tmp_path / "model.safetensors")
    loaded = RidgeSlide.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(slides[2].inputs, 1, 0)[0], predicted(slides, slides[2].inputs))


def test_blocks_must_add_up(slides):
    with pytest.raises(SettingError, match=r"add up to the 4 features, found \[2, 3\]"):
        fitted(slides, blocks=(2, 3))
