"""Ridge's mean with a Gaussian residual field: what honest noise around a linear mean is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting

from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs, draw_seed
from stbench.methods.controls.linear_gaussian.field import Field, Noise, draw_noise, fit_field, mixed, waves
from stbench.methods.controls.linear_gaussian.margins import Normal, Table
from stbench.methods.controls.linear_gaussian.residuals import folds_of, held_out
from stbench.methods.controls.pool import pitches_from_centroid
from stbench.methods.controls.ridge import Ridge, RidgeSettings
from stbench.metrics import crps, morans_i, spatial_weights

Array = NDArray[np.float64]

MARGINS: dict[str, type[Normal] | type[Table]] = {"normal": Normal, "table": Table}
BLOCK = 8192  # spots drawn at once
CALIBRATION_DRAWS = 8
SPREADS = np.linspace(0.5, 1.5, 21)
GAINS = np.linspace(0, 3, 13)


class LinearGaussianSettings(RidgeSettings):
    """Settings of ridge and of the noise around it."""

    margin: Literal["normal", "table"] = Setting(
        default="normal", description="residuals of a gene: one normal law, or quantiles that depend on the mean"
    )
    spread: float | None = Setting(
        default=None, ge=0, description="factor of the residuals; None: by validation CRPS, 1 without validation"
    )
    gain: float | None = Setting(
        default=None,
        ge=0,
        description="factor of the smooth share; None: by validation Moran's I, 1 without validation",
    )


Parts = tuple[Noise, Array, Array]
"""Noise of a draw, with its waves and its white noise at some spots."""


class LinearGaussian(Ridge):
    """``y = m(x) + s Q(o + sum_k u_k (sqrt(a_k) wave_k + sqrt(1 - a_k) white_k))``, a sample per draw.

    m is :class:`stbench.methods.controls.ridge.Ridge`, and :meth:`predict_mean`. Its residuals on training spots that
    it was not fitted on give the margins Q, the offsets o of slides, the gene covariance ``sum_k u_k u_k'`` within
    slides (Ledoit and Wolf 2004), and how far each factor reaches over the slide. The spread s and a gain on the shares
    ``a_k`` are set on validation slides. Draws are no lower than the smallest training value and, on log1p, log1p of
    whole counts.
    """

    Settings = LinearGaussianSettings

    offsets_: Array
    loadings_: Array
    smooth_: Array
    length_: NDArray[np.int64]
    floor_: Array  # (n_genes,)
    counts_: bool
    spread_: float
    gain_: float

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        super().fit(train, validation, context)
        self.floor_ = np.min([slide.expression.min(axis=0) for slide in train], axis=0)
        self.counts_ = context.scale == "log1p"
        self._fit_noise(train)
        self._calibrate(validation, context.seed)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        mean, positions = self._mean(inputs), pitches_from_centroid(inputs)
        found = np.empty((draws, *mean.shape), dtype=np.float32)
        for k in range(draws):
            generator = np.random.default_rng(draw_seed(seed, inputs.slide_id, k))
            noise = draw_noise(self._field, positions, generator)
            for start in range(0, inputs.n_spots, BLOCK):
                rows = slice(start, start + BLOCK)
                parts = noise, *self._at(noise, positions[rows], generator)
                residuals = self._residuals(mean[rows], parts, self.gain_)
                found[k, rows] = self._expression(mean[rows] + self.spread_ * residuals)
        return found

    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        return super().predict(inputs, 1, seed)[0]

    def _mean(self, inputs: SlideInputs) -> Array:
        return super().predict(inputs, 1, 0)[0].astype(np.float64)

    @property
    def _field(self) -> Field:
        return Field(self.offsets_, self.loadings_, self.smooth_, self.length_)

    @property
    def _margin(self) -> Normal | Table:
        kind = MARGINS[self.settings.margin]
        return kind(*(getattr(self, f"margin_{name}_") for name in kind._fields))

    def _fit_noise(self, train: Sequence[LabelledSlide]) -> None:
        mean = np.concatenate(held_out(train, folds_of(train), self._standardise, self.alpha_))
        residuals = np.concatenate([slide.expression for slide in train]) - mean
        margin = MARGINS[self.settings.margin].fit(mean, residuals)
        for name, values in margin._asdict().items():
            setattr(self, f"margin_{name}_", values.astype(np.float32))
        ends = np.cumsum([slide.inputs.n_spots for slide in train])[:-1]
        scores = np.split(margin.scores(mean, residuals), ends)
        field = fit_field(scores, [pitches_from_centroid(slide.inputs) for slide in train])
        self.offsets_, self.loadings_, self.smooth_, self.length_ = field

    def _calibrate(self, validation: Sequence[LabelledSlide], seed: int) -> None:
        """The spread by CRPS with the shares as fitted, then their gain by Moran's I."""
        self.spread_ = 1.0 if self.settings.spread is None else self.settings.spread
        self.gain_ = 1.0 if self.settings.gain is None else self.settings.gain
        if self.settings.spread is None and validation:
            scores = [self._crps_of_spreads(slide, seed) for slide in validation]
            self.spread_ = float(SPREADS[np.mean(scores, axis=0).argmin()])
        if self.settings.gain is None and validation:
            biases = np.mean([self._moran_bias_of_gains(slide, seed) for slide in validation], axis=0)
            self.gain_ = float(GAINS[np.abs(biases).argmin()]) if np.isfinite(biases).all() else self.gain_

    def _parts(self, inputs: SlideInputs, seed: int) -> Iterator[Parts]:
        positions = pitches_from_centroid(inputs)
        for k in range(CALIBRATION_DRAWS):
            generator = np.random.default_rng(draw_seed(seed, inputs.slide_id, k))
            noise = draw_noise(self._field, positions, generator)
            yield noise, *self._at(noise, positions, generator)

    def _at(self, noise: Noise, positions: Array, generator: np.random.Generator) -> tuple[Array, Array]:
        """(n_spots, n_factors) waves and white noise at (n_spots, 2) positions."""
        return waves(self._field, noise, positions), generator.standard_normal((len(positions), len(self.smooth_)))

    def _residuals(self, mean: Array, parts: Parts, gain: float) -> Array:
        return self._margin.residuals(mean, mixed(self._field, *parts, gain))

    def _expression(self, values: Array) -> Array:
        """Values as a slide could hold them."""
        found = np.maximum(values, self.floor_)
        return np.log1p(np.rint(np.expm1(found))) if self.counts_ else found

    def _crps_of_spreads(self, slide: LabelledSlide, seed: int) -> list[float]:
        mean = self._mean(slide.inputs)
        drawn = [self._residuals(mean, parts, self.gain_) for parts in self._parts(slide.inputs, seed)]
        residuals = np.stack(drawn)
        scores = [crps(slide.expression, self._expression(mean + spread * residuals)) for spread in SPREADS]
        return [float(score.value or 0) for score in scores]

    def _moran_bias_of_gains(self, slide: LabelledSlide, seed: int) -> Array:
        """Predicted minus true Moran's I of single draws, NaN where no gene has one."""
        mean, weights = self._mean(slide.inputs), spatial_weights(slide.inputs.xy)
        truth = morans_i(slide.expression, weights)
        drawn = [
            [
                morans_i(self._expression(mean + self.spread_ * self._residuals(mean, parts, float(gain))), weights)
                for gain in GAINS
            ]
            for parts in self._parts(slide.inputs, seed)
        ]
        bias = np.array(drawn) - truth  # (draws, gains, n_genes)
        known = np.isfinite(bias)
        total, count = np.where(known, bias, 0).sum(axis=(0, 2)), known.sum(axis=(0, 2))
        return np.divide(total, count, out=np.full(len(GAINS), np.nan), where=count > 0)
