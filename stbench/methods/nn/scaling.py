"""Statistics of the training slides that networks standardise with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stbench.methods.base import FloatArray, LabelledSlide

_FEATURE_LIMIT = 5.0  # standard deviations


def moments(values: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """(d,) mean and (d,) standard deviation of the rows of (n, d), summed in float64."""
    mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return mean.astype(np.float32), std.astype(np.float32)


def gene_moments(train: Sequence[LabelledSlide]) -> tuple[FloatArray, FloatArray]:
    """(G,) mean and (G,) standard deviation of the training expression, on its scale."""
    return moments(np.concatenate([slide.expression for slide in train]))


def feature_moments(train: Sequence[LabelledSlide]) -> tuple[FloatArray, FloatArray]:
    """(d,) mean and (d,) standard deviation of the training features."""
    return moments(np.concatenate([slide.inputs.features for slide in train]))


def standardized(features: FloatArray, mean: FloatArray, std: FloatArray) -> FloatArray:
    """(n_spots, d) z-scores, constant columns at zero, clipped to 5 standard deviations."""
    z = (features - mean) / np.where(std > 0, std, 1)
    return np.clip(z, -_FEATURE_LIMIT, _FEATURE_LIMIT).astype(np.float32)


class Scale:
    """Between the task's expression and what a network works on.

    Args:
        mean: (G,) training mean per gene.
        std: (G,) training standard deviation per gene; constant genes count as 1.
        standardized: whether the network sees (y - mean) / std, or y itself.
    """

    def __init__(self, mean: FloatArray, std: FloatArray, *, standardized: bool) -> None:
        self.mean = mean
        self.shift = mean if standardized else np.zeros_like(mean)
        self.factor = np.where(std > 0, std, 1).astype(np.float32) if standardized else np.ones_like(std)

    def inward(self, y: FloatArray) -> FloatArray:
        return ((y - self.shift) / self.factor).astype(np.float32)

    def outward(self, y: FloatArray) -> FloatArray:
        return (y * self.factor + self.shift).astype(np.float32)
