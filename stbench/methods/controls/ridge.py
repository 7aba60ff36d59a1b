"""Closed-form ridge regression from image features to expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stbench.errors import SettingError
from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs

Array = NDArray[np.float64]

ALPHAS = tuple(float(alpha) for alpha in np.logspace(-2, 6, 17))
"""Penalties tried on the validation slides."""


class RidgeSettings(BaseModel):
    """Settings of the ridge regression."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float | None = Field(
        default=None, gt=0, description="penalty on squared coefficients of z-scored features; None: by validation MSE"
    )
    clip: float = Field(default=5.0, gt=0, description="largest absolute z-score of a feature")


class _Solution(NamedTuple):
    """Everything of the normal equations that does not depend on alpha.

    Args:
        z_mean: (d,) mean of the standardised training features.
        y_mean: (n_genes,) mean of the training expression.
        eigenvalues: (d,) of the centred Z^T Z.
        vectors: (d, d) its eigenvectors, one per column.
        projected: (d, n_genes) eigenvectors times centred Z^T Y.
    """

    z_mean: Array
    y_mean: Array
    eigenvalues: Array
    vectors: Array
    projected: Array

    def rotated_coefficients(self, alpha: float) -> Array:
        """(d, n_genes) coefficients in the basis of the eigenvectors."""
        return self.projected / (self.eigenvalues + alpha)[:, None]


class Ridge(Method):
    """Linear prediction from z-scored, clipped image features, with an intercept.

    ``min_B ||Y - 1 b - Z B||^2 + alpha ||B||^2`` with Z (n_spots, d) features on training statistics. One
    eigendecomposition of ``Z^T Z`` serves every alpha; the one with the lowest mean squared error over the validation
    slides is kept.
    """

    Settings = RidgeSettings

    feature_mean_: Array  # (d,)
    feature_scale_: Array  # (d,)
    coefficients_: Array  # (d, n_genes)
    intercept_: Array  # (n_genes,)
    alpha_: float

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        if self.settings.alpha is None and not validation:
            raise SettingError(
                "ridge: expected validation slides to choose alpha on, found none; give alpha with --set alpha=100"
            )
        solution = self._on(train)
        self.alpha_ = self.settings.alpha or self._best_alpha(solution, validation)
        self._keep(solution)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        prediction = self._standardise(inputs) @ self.coefficients_ + self.intercept_
        return prediction.astype(np.float32)[None]

    def _on(self, slides: Sequence[LabelledSlide]) -> _Solution:
        self.feature_mean_, self.feature_scale_ = _feature_statistics([slide.inputs for slide in slides])
        return self._solve(slides)

    def _keep(self, solution: _Solution) -> None:
        self.coefficients_ = solution.vectors @ solution.rotated_coefficients(self.alpha_)
        self.intercept_ = solution.y_mean - solution.z_mean @ self.coefficients_

    def _best_alpha(self, solution: _Solution, validation: Sequence[LabelledSlide]) -> float:
        errors = [self._errors(solution, slide) for slide in validation]
        return ALPHAS[int(np.argmin([np.mean(column) for column in zip(*errors, strict=True)]))]

    def _errors(self, solution: _Solution, slide: LabelledSlide) -> list[float]:
        """Mean squared error on a slide for every alpha."""
        rotated = (self._standardise(slide.inputs) - solution.z_mean) @ solution.vectors
        target = slide.expression - solution.y_mean
        return [float(np.square(rotated @ solution.rotated_coefficients(a) - target).mean()) for a in ALPHAS]

    def _standardise(self, inputs: SlideInputs) -> Array:
        z = (np.asarray(inputs.features, dtype=np.float64) - self.feature_mean_) / self.feature_scale_
        return np.clip(z, -self.settings.clip, self.settings.clip)

    def _solve(self, train: Sequence[LabelledSlide]) -> _Solution:
        n = sum(slide.inputs.n_spots for slide in train)
        z_mean = sum(self._standardise(slide.inputs).sum(axis=0) for slide in train) / n
        y_mean = sum(slide.expression.sum(axis=0, dtype=np.float64) for slide in train) / n
        zz, zy = np.zeros((len(z_mean), len(z_mean))), np.zeros((len(z_mean), len(y_mean)))
        for slide in train:  # slide by slide, so that no second copy of all features is held
            z = self._standardise(slide.inputs) - z_mean
            zz += z.T @ z
            zy += z.T @ (slide.expression - y_mean)
        eigenvalues, vectors = np.linalg.eigh(zz)
        return _Solution(z_mean, y_mean, np.clip(eigenvalues, 0, None), vectors, vectors.T @ zy)


def _feature_statistics(train: Sequence[SlideInputs]) -> tuple[Array, Array]:
    """Mean and standard deviation over training spots of every feature; 1 for features that do not vary."""
    n = sum(inputs.n_spots for inputs in train)
    mean = sum(inputs.features.sum(axis=0, dtype=np.float64) for inputs in train) / n
    variance = sum(np.square(inputs.features - mean).sum(axis=0) for inputs in train) / n
    scale = np.sqrt(variance)
    return mean, np.where(scale > 1e-7 * np.abs(mean), scale, 1.0)
