"""Statistics of the training slides that networks standardise with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stbench.methods.base import FloatArray, LabelledSlide

_FEATURE_LIMIT = 5.0  # standard deviations
_ROWS = 4096  # summed at once


def moments(parts: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """(d,) mean and (d,) standard deviation of the rows of several (n, d), summed in float64, some rows at a time."""
    n = sum(len(part) for part in parts)
    mean = _total(_rows(parts)) / n
    std = np.sqrt(_total(np.square(rows - mean) for rows in _rows(parts)) / n)
    return mean.astype(np.float32), std.astype(np.float32)


def _rows(parts: Sequence[FloatArray]) -> Iterator[NDArray[np.float64]]:
    for part in parts:
        for start in range(0, len(part), _ROWS):
            yield part[start : start + _ROWS].astype(np.float64)


def _total(blocks: Iterator[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(d,) sum of all rows one after the other, as numpy sums one array: the same bits however the rows are cut."""
    total = next(blocks).sum(axis=0)
    for block in blocks:
        total = np.concatenate([total[None], block]).sum(axis=0)
    return total


def gene_moments(train: Sequence[LabelledSlide]) -> tuple[FloatArray, FloatArray]:
    """(G,) mean and (G,) standard deviation of the training expression, on its scale."""
    return moments([slide.expression for slide in train])


def feature_moments(train: Sequence[LabelledSlide]) -> tuple[FloatArray, FloatArray]:
    """(d,) mean and (d,) standard deviation of the training features."""
    return moments([slide.inputs.features for slide in train])


def standardized(features: FloatArray, mean: FloatArray, std: FloatArray) -> FloatArray:
    """(n_spots, d) z-scores, constant columns at zero, clipped to 5 standard deviations."""
    z = features - mean
    z /= np.where(std > 0, std, 1)
    return np.clip(z, -_FEATURE_LIMIT, _FEATURE_LIMIT, out=z).astype(np.float32, copy=False)


class StandardizedRows:
    """:func:`standardized` features of a slide, made for the rows asked for: nothing of the slide is held.

    Args:
        features: (n_spots, d), on disk or in memory.
        mean: (d,) training mean.
        std: (d,) training standard deviation.
    """

    def __init__(self, features: FloatArray, mean: FloatArray, std: FloatArray) -> None:
        self.shape = features.shape
        self._features, self._mean, self._std = features, mean, std

    def __getitem__(self, rows: NDArray[np.int64]) -> FloatArray:
        return standardized(self._features[rows], self._mean, self._std)


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
        """(..., G) expression on the network's scale."""
        return ((y - self.shift) / self.factor).astype(np.float32)

    def outward(self, y: FloatArray) -> FloatArray:
        """(..., G) expression on the task's scale."""
        found = y * self.factor
        found += self.shift
        return found.astype(np.float32, copy=False)
