"""Methods small enough to reason about."""

import os
import sys

import numpy as np

from stbench.errors import RunFailedError, SettingError
from stbench.methods.base import Method, NoSettings
from stbench.methods.calibration import SamplerSettings


class SlideMean(Method):
    """Training mean plus a little noise per draw; remembers standardisation of the features."""

    class Settings(NoSettings):
        scale: float = 0.1
        name: str = "x"

    def fit(self, train, validation, context):
        pooled = np.concatenate([slide.inputs.features for slide in train])
        self.centre_ = pooled.mean(axis=0)
        self.mean_ = np.concatenate([slide.expression for slide in train]).mean(axis=0)

    def predict(self, inputs, draws, seed):
        shift = (inputs.features - self.centre_).sum(axis=1, keepdims=True)
        noise = [
            np.random.default_rng([seed, draw]).normal(size=(inputs.n_spots, len(self.mean_))) for draw in range(draws)
        ]
        return np.stack([self.mean_ + shift + self.settings.scale * part for part in noise]).astype(np.float32)

    def predict_mean(self, inputs, seed):
        return np.tile(self.mean_, (inputs.n_spots, 1)).astype(np.float32)


class Sampler(SlideMean):
    """The same with draws that can be calibrated; stops like :class:`Interrupted`."""

    class Settings(SamplerSettings):
        scale: float = 0.1

    def predict(self, inputs, draws, seed):
        if inputs.slide_id == "P3-s0" and "STBENCH_TEST_STOP" in os.environ:
            raise KeyboardInterrupt
        return super().predict(inputs, draws, seed)


class Refuses(SlideMean):
    def refuse(self, train, test, context):
        return "needs more than two slides"


class PredictsNan(SlideMean):
    def predict(self, inputs, draws, seed):
        found = super().predict(inputs, draws, seed)
        found[0, 0, 0] = np.nan
        return found


class WrongShape(SlideMean):
    def predict(self, inputs, draws, seed):
        return super().predict(inputs, draws, seed)[:, 1:]


class WrongType(SlideMean):
    def predict(self, inputs, draws, seed):
        return super().predict(inputs, draws, seed).astype(np.float64)


class Crashes(SlideMean):
    def fit(self, train, validation, context):
        raise ZeroDivisionError("division\nby zero")


class Exits(SlideMean):
    def fit(self, train, validation, context):
        sys.exit(3)


class GivesUp(SlideMean):
    def fit(self, train, validation, context):
        raise RunFailedError("the loss is not finite after 3 updates")


class BadInput(SlideMean):
    def fit(self, train, validation, context):
        raise SettingError("expected a prior file, found none")


class Interrupted(SlideMean):
    """Stops while predicting its second slide, if the environment says so."""

    def predict(self, inputs, draws, seed):
        if inputs.slide_id == "P3-s0" and "STBENCH_TEST_STOP" in os.environ:
            raise KeyboardInterrupt
        return super().predict(inputs, draws, seed)


class StopsFitting(SlideMean):
    """Is stopped while fitting, and goes on when asked to."""

    def fit(self, train, validation, context):
        marker = context.workdir / "half"
        if not context.resume:
            marker.write_text("done half")
            raise KeyboardInterrupt
        assert marker.read_text() == "done half"
        super().fit(train, validation, context)


class Point(SlideMean):
    """A sampler that is switched to one point prediction."""

    def predict(self, inputs, draws, seed):
        return super().predict(inputs, 1, seed)


class Slow(SlideMean):
    def estimate_seconds(self, train, test, draws, context):
        return 1200.0


class Depth(Method):
    """Writes down whether it was given total counts and features."""

    def fit(self, train, validation, context):
        self.n_genes_ = train[0].expression.shape[1]
        self.saw_depth_ = all(slide.inputs.total_counts is not None for slide in [*train, *validation])

    def predict(self, inputs, draws, seed):
        saw = float(inputs.total_counts is not None and self.saw_depth_)
        return np.full((1, inputs.n_spots, self.n_genes_), 10 * saw + inputs.features.shape[1], dtype=np.float32)


class Vandal(SlideMean):
    """Spoils every array it is given."""

    def fit(self, train, validation, context):
        super().fit(train, validation, context)
        for slide in train:
            slide.expression[:] = 7
            slide.inputs.features[:] = 7
            slide.inputs.xy[:] = 7
