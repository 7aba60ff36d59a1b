"""Draws whose spread is fitted on validation slides."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from stbench.catalogue import method_cards
from stbench.errors import RunFailedError, SettingError
from stbench.methods.base import Context, LabelledSlide, Method, SlideInputs, draw_seed
from stbench.methods.calibration import Calibrated, SamplerSettings, calibrated, check_draws, scaled
from stbench.methods.registry import method_class, resolve_settings
from stbench.metrics import crps, draw_variance

CONTEXT = Context(genes=tuple("ABCDE"))
SAMPLERS = [name for name, card in method_cards().items() if card.kind == "generative"]


class Sampler(Method):
    """Knows the mean of the truth, which has a standard deviation of 1 around it; its draws have another."""

    class Settings(SamplerSettings):
        width: float = 1.0
        points: bool = False

    def fit(self, train, validation, context):
        self.n_genes_ = context.n_genes

    def predict(self, inputs, draws, seed):
        noise = [
            np.random.default_rng(draw_seed(seed, inputs.slide_id, k)).normal(size=(inputs.n_spots, self.n_genes_))
            for k in range(1 if self.settings.points else draws)
        ]
        return (inputs.features + self.settings.width * np.array(noise)).astype(np.float32)

    def predict_mean(self, inputs, seed):
        return inputs.features.astype(np.float32)


def slide(slide_id, seed, n_spots=400):
    generator = np.random.default_rng(seed)
    mean = generator.uniform(1, 5, size=(n_spots, 5))
    truth = mean + generator.normal(size=mean.shape)
    inputs = SlideInputs(slide_id, "P", mean, np.zeros((n_spots, 2), dtype=np.float32))
    return LabelledSlide(inputs, truth.astype(np.float32))


TRAIN, VALIDATION, TEST = [slide("T", 1)], [slide("V", 2), slide("W", 3, 100)], slide("X", 4)


def fitted(validation=VALIDATION, **settings):
    method = calibrated(Sampler(Sampler.Settings(calibrate=True, **settings)))
    method.fit(TRAIN, validation, CONTEXT)
    return method


def spread(draws, truth):
    """Variance between draws over what the truth's distance from their mean asks for; 1 is right."""
    asked = np.square(truth - draws.mean(axis=0)).mean() * len(draws) / (len(draws) + 1)
    return draw_variance(truth, draws).value / asked


@pytest.mark.parametrize(("width", "draws"), [(0.3, 8), (0.6, 8), (2.0, 8), (0.5, 3), (3.0, 20)])
def test_too_narrow_and_too_wide_draws_get_the_right_spread_and_a_lower_crps(width, draws):
    method = fitted(width=width)
    before, after = (one.predict(TEST.inputs, draws, 7) for one in (method.method, method))
    assert spread(after, TEST.expression) == pytest.approx(1, abs=0.1)
    assert abs(spread(before, TEST.expression) - 1) > 0.3
    assert crps(TEST.expression, after).value < crps(TEST.expression, before).value
    np.testing.assert_array_equal(
        *(found.mean(axis=0, dtype=np.float64).astype(np.float32) for found in (before, after))
    )
    assert method.factor(draws) == pytest.approx(np.sqrt((draws / width**2 + 1) / (draws + 1)), rel=0.05)


def test_draws_of_the_right_spread_stay():
    assert fitted().factor(8) == pytest.approx(1, abs=0.03)


def test_its_factor_by_hand():
    """Draws 0, 1, 2, 3 of a truth 3.5: E = 5/3, V = 4 - E / 4."""

    class Counts(Sampler):
        def predict(self, inputs, draws, seed):
            return np.broadcast_to(np.arange(draws)[:, None, None], (draws, 1, 1)).astype(np.float32)

    method = Calibrated(Counts(Counts.Settings(calibrate=True)))
    one = replace(VALIDATION[0].inputs, xy=np.zeros((1, 2)))
    method.fit(TRAIN, [LabelledSlide(one, np.full((1, 1), 3.5, dtype=np.float32))], CONTEXT)
    assert method.factor(7) == pytest.approx(np.sqrt((7 * (4 - 5 / 12) / (5 / 3) + 1) / 8))


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 2.1])
@pytest.mark.parametrize("draws", [2, 5, 8])
def test_the_mean_is_the_same_to_the_bit(factor, draws):
    generator = np.random.default_rng(draws)
    sizes = 10 ** generator.uniform(-6, 6, size=(1, 300, 5))
    shape = (draws, 300, 5)
    for kind, some in (("around 0", generator.normal(size=shape)), ("positive", generator.exponential(size=shape))):
        some = (some * sizes).astype(np.float32)
        some[:, generator.random((300, 5)) < 0.3] = 0
        found = scaled(some, factor)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(*(one.mean(axis=0, dtype=np.float64).astype(np.float32) for one in (some, found)))
        mean = some.mean(axis=0, dtype=np.float64)
        close = np.isclose(found, mean + factor * (some - mean), rtol=1e-5, atol=1e-6 * mean).all(axis=0)
        assert close.mean() > (0.99 if kind == "positive" else 0.8)


def test_only_validation_labels_count():
    other = LabelledSlide(TRAIN[0].inputs, TRAIN[0].expression + 9)
    first, second = fitted(width=0.5), calibrated(Sampler(Sampler.Settings(calibrate=True, width=0.5)))
    second.fit([other], VALIDATION, CONTEXT)
    assert first.factor(8) == second.factor(8)
    moved = [replace(one, expression=one.expression + 1) for one in VALIDATION]
    assert fitted(moved, width=0.5).factor(8) > first.factor(8)


def test_a_model_file_keeps_it(tmp_path):
    method = fitted(width=0.5)
    method.save(tmp_path / "model.safetensors")
    loaded = calibrated(Sampler.load(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(loaded.predict(TEST.inputs, 4, 1), method.predict(TEST.inputs, 4, 1))


def test_one_draw_and_the_direct_mean_stay():
    method = fitted(width=0.5)
    np.testing.assert_array_equal(method.predict(TEST.inputs, 1, 1), method.method.predict(TEST.inputs, 1, 1))
    np.testing.assert_array_equal(method.predict_mean(TEST.inputs, 1), method.method.predict_mean(TEST.inputs, 1))


def test_what_cannot_be_calibrated_is_refused_in_words():
    with pytest.raises(SettingError, match="expected validation slides to fit the spread on, found none"):
        fitted([])
    with pytest.raises(SettingError, match="expected draws, found one point prediction"):
        fitted(points=True)
    with pytest.raises(RunFailedError, match="do not differ"):
        fitted(width=0.0)
    with pytest.raises(SettingError, match="expected at least 2 draws, found 1"):
        check_draws(Sampler.Settings(calibrate=True), 1)
    check_draws(Sampler.Settings(), 1)


def test_off_is_as_if_there_were_no_such_setting():
    plain = Sampler()
    assert calibrated(plain) is plain
    assert "calibrate" not in plain.settings.model_dump()
    assert Sampler.Settings.model_validate_json(plain.settings.model_dump_json()) == plain.settings
    on = Sampler.Settings(calibrate=True)
    assert on.model_dump()["calibrate"] is True
    assert Sampler.Settings.model_validate_json(on.model_dump_json()) == on


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_has_it(name):
    card = method_cards()[name]
    settings = resolve_settings(card, method_class(card), "small", {"calibrate": "true"})
    assert isinstance(calibrated(method_class(card)(settings)), Calibrated)


@pytest.mark.parametrize(("name", "setting", "said"), [
    ("flag", {"diffusion": False}, "needs draws: diffusion true"), ("stflow", {"prior": "zero"}, "prior zinb or"),
])  # fmt: skip
def test_settings_that_predict_a_point_refuse_it(name, setting, said):
    settings = method_class(method_cards()[name]).Settings
    settings(**setting)
    with pytest.raises(ValidationError, match=said):
        settings(**setting, calibrate=True)


def test_spots_of_a_large_slide_are_scaled_some_at_a_time():
    drawn = np.random.default_rng(3).normal(size=(3, 5000, 2)).astype(np.float32)
    parts = [scaled(drawn[:, part], 1.7) for part in (slice(0, 17), slice(17, 4500), slice(4500, None))]
    np.testing.assert_array_equal(scaled(drawn, 1.7), np.concatenate(parts, axis=1))
