"""Methods that break the contract in one way each."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stbench.errors import RunFailedError
from stbench.methods.base import Method


class Sound(Method):
    """Mean expression, plus noise for draws."""

    def fit(self, train, validation, context):
        self.mean_ = np.concatenate([slide.expression for slide in train]).mean(axis=0)

    def predict(self, inputs, draws, seed):
        shape = (inputs.n_spots, len(self.mean_))
        return np.stack(
            [self.mean_ + np.random.default_rng([seed, k]).normal(size=shape) for k in range(draws)]
        ).astype(np.float32)


class Undescribed(Sound):
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        k: int = 3


class Required(Sound):
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        k: int = Field(description="must be given")


class Thawed(Sound):
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid")


class Lenient(Sound):
    class Settings(BaseModel):
        model_config = ConfigDict(frozen=True)


class Crashes(Sound):
    def fit(self, train, validation, context):
        raise ZeroDivisionError("division\nby zero")


class RefusesEverything(Sound):
    def refuse(self, train, test, context):
        return "needs a bigger slide"


class Wide(Sound):
    def predict(self, inputs, draws, seed):
        return super().predict(inputs, draws, seed).astype(np.float64)


class Flat(Sound):
    def predict(self, inputs, draws, seed):
        return super().predict(inputs, draws, seed)[0]


class Nan(Sound):
    def predict(self, inputs, draws, seed):
        return np.full_like(super().predict(inputs, draws, seed), np.nan)


class Unseeded(Sound):
    def fit(self, train, validation, context):
        super().fit(train, validation, context)
        self.mean_ = self.mean_ + np.random.default_rng().normal()


class Wanders(Sound):
    def predict(self, inputs, draws, seed):
        self.mean_ = self.mean_ + 1
        return super().predict(inputs, draws, seed)


class DrawsTogether(Sound):
    def predict(self, inputs, draws, seed):
        shape = (inputs.n_spots, draws, len(self.mean_))
        return np.random.default_rng(seed).normal(size=shape).swapaxes(0, 1).astype(np.float32)


class OneDraw(Sound):
    def predict(self, inputs, draws, seed):
        return np.repeat(super().predict(inputs, 1, 0), draws, axis=0)


class SameDraws(Sound):
    def predict(self, inputs, draws, seed):
        return super().predict(inputs, draws, 0)


class BadMean(Sound):
    def predict_mean(self, inputs, seed):
        return self.mean_


class Forgets(Sound):
    def fit(self, train, validation, context):
        super().fit(train, validation, context)
        self.shift = 1

    def predict(self, inputs, draws, seed):
        return super().predict(inputs, draws, seed) + getattr(self, "shift", 0)


class Vandal(Sound):
    def fit(self, train, validation, context):
        super().fit(train, validation, context)
        train[0].inputs.features[:] = 7


class NeedsTwoSpots(Sound):
    def predict(self, inputs, draws, seed):
        inputs.xy[1]
        return super().predict(inputs, draws, seed)


class NeedsPlaces(Sound):
    def predict(self, inputs, draws, seed):
        inputs.array_xy.mean()
        return super().predict(inputs, draws, seed)


class Chatters(Sound):
    def predict(self, inputs, draws, seed):
        if inputs.n_spots == 1:
            raise RunFailedError("one\nspot")
        return super().predict(inputs, draws, seed)


class Timeless(Sound):
    def estimate_seconds(self, train, test, draws, context):
        return float("nan")


class Mirrors(Sound):
    """Draws in pairs around the mean: the fair CRPS falls, the model is the same."""

    def predict(self, inputs, draws, seed):
        away = super().predict(inputs, draws, seed) - self.mean_
        for k in range(1, draws, 2):
            away[k] = -away[k - 1]
        return (self.mean_ + away).astype(np.float32)


class MirrorsFarApart(Mirrors):
    """Draw 4 mirrors draw 0, and so on."""

    def predict(self, inputs, draws, seed):
        away = Sound.predict(self, inputs, draws, seed) - self.mean_
        away[4:8] = -away[: max(draws - 4, 0)][:4]
        return (self.mean_ + away).astype(np.float32)


class Repeats(Sound):
    """Every other draw is the one before, but for the last bits."""

    def predict(self, inputs, draws, seed):
        drawn = super().predict(inputs, draws, seed)
        drawn[1::2] = drawn[: draws // 2 * 2 : 2] + 1e-4
        return drawn


class Strata(Sound):
    """Of 4 draws, each spot and gene has one in each quarter of the law, in an order of its own."""

    def predict(self, inputs, draws, seed):
        from scipy.stats import norm

        shape = (inputs.n_spots, len(self.mean_))
        drawn = []
        for block in range(-(-draws // 4)):
            generator = np.random.default_rng([seed, block])
            strata = generator.permuted(np.tile(np.arange(4), (*shape, 1)), axis=-1) + generator.random((*shape, 4))
            drawn += list(np.moveaxis(norm.ppf(strata / 4), -1, 0))
        return (self.mean_ + np.stack(drawn[:draws])).astype(np.float32)
