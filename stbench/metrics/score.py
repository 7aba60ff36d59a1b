"""What a metric returns, and the checks and moments that several metrics share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.errors import DataError

FloatArray = NDArray[np.float64]

CONSTANT = 1e-7
"""A gene is constant if its standard deviation is at most this times its largest absolute value (float32 rounding)."""


RULES = 2
"""Raised when the numbers of a metric move; a record says under which it was scored.

2: a gene that the prediction leaves constant though the truth varies scores 0 in correlations; it was left out. The
CRPS of a point prediction is that of a normal law around it, and one draw has none; both had their mean absolute error.
"""


class Score(float):
    """The value of a metric: a float that also says what it was averaged over.

    Args:
        value: the score; None when it is undefined, and the float is then NaN.
        n_used: genes (or gene pairs, or spots: see the metric) the value rests on.
        n_undefined: genes left out.
        n_constant: genes that the prediction leaves constant though the truth varies; whether they score 0 or are left
            out, the metric says.
        per_gene: (n_genes,) the metric of every gene, NaN where undefined; None for metrics that have no such thing.
        reason: why the value is undefined, empty when it is defined.
        dressed: whether the score is of a law put around a point prediction, not of the prediction alone.
    """

    n_used: int
    n_undefined: int
    n_constant: int
    per_gene: FloatArray | None
    reason: str
    dressed: bool

    def __new__(
        cls,
        value: float | None,
        n_used: int = 0,
        n_undefined: int = 0,
        per_gene: FloatArray | None = None,
        reason: str = "",
        n_constant: int = 0,
        dressed: bool = False,
    ) -> Score:
        score = super().__new__(cls, np.nan if value is None else value)
        score.n_used, score.n_undefined, score.n_constant = n_used, n_undefined, n_constant
        score.per_gene, score.reason, score.dressed = per_gene, reason, dressed
        return score

    @property
    def value(self) -> float | None:
        """The score as a plain float, None when undefined."""
        return None if np.isnan(self) else float(self)


def over_genes(per_gene: FloatArray, reason: str, *, median: bool = False, n_constant: int = 0) -> Score:
    """Average a per-gene metric over the genes where it is defined.

    Args:
        per_gene: (n_genes,) values, NaN where undefined.
        reason: why the score is undefined if no gene is left.
        median: take the median instead of the mean.
        n_constant: genes that the prediction leaves constant though the truth varies.
    """
    defined = per_gene[~np.isnan(per_gene)]
    n_undefined = len(per_gene) - len(defined)
    if not len(defined):
        return Score(None, 0, n_undefined, per_gene, reason, n_constant)
    value = float(np.median(defined) if median else defined.mean())
    return Score(value, len(defined), n_undefined, per_gene, n_constant=n_constant)


def as_matrix(values: ArrayLike, what: str) -> FloatArray:
    """(n_spots, n_genes) in float64.

    Raises:
        DataError: not two-dimensional, empty, or a value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise DataError(f"expected {what} of shape (n_spots, n_genes), found shape {array.shape}; pass one slide")
    if not np.isfinite(array).all():
        spot, gene = np.argwhere(~np.isfinite(array))[0]
        raise DataError(
            f"expected finite {what}, found {array[spot, gene]} at spot {spot}, gene {gene}; see the method"
        )
    return array


def as_pair(true: ArrayLike, pred: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Truth and prediction as float64 matrices of one shape.

    Raises:
        DataError: a matrix is bad (:func:`as_matrix`) or the shapes differ.
    """
    first, second = as_matrix(true, "true expression"), as_matrix(pred, "predicted expression")
    if first.shape != second.shape:
        raise DataError(f"expected a prediction of shape {first.shape} as the truth, found {second.shape}")
    return first, second


def as_draws(true: ArrayLike, draws: ArrayLike) -> tuple[FloatArray, NDArray[np.floating]]:
    """Truth in float64 and draws in the precision they came in, so that a large stack is not copied.

    Raises:
        DataError: a matrix is bad (:func:`as_matrix`) or the shape is not (n_draws, n_spots, n_genes).
    """
    expression, stack = as_matrix(true, "true expression"), np.asarray(draws)
    if stack.ndim != 3 or not len(stack) or stack.shape[1:] != expression.shape:
        raise DataError(f"expected draws of shape (n_draws, *{expression.shape}), found {stack.shape}")
    for number, draw in enumerate(stack):
        as_matrix(draw, f"draw {number}")
    return expression, stack


class Centred(NamedTuple):
    """A matrix without its column means.

    Args:
        z: (n_spots, n_genes) values minus the mean of their gene.
        sum_squares: (n_genes,) sum of squares of ``z``.
        constant: (n_genes,) whether the gene does not vary over spots.
    """

    z: FloatArray
    sum_squares: FloatArray
    constant: NDArray[np.bool_]


def centred(values: FloatArray) -> Centred:
    """Take the column means out of a (n_spots, n_genes) matrix."""
    z = values - values.mean(axis=0)
    sum_squares: FloatArray = np.einsum("ij,ij->j", z, z)
    largest = np.maximum(values.max(axis=0), -values.min(axis=0))
    return Centred(z, sum_squares, np.sqrt(sum_squares / len(values)) <= CONSTANT * largest)


def flattened(truth: Centred, prediction: Centred) -> NDArray[np.bool_]:
    """(n_genes,) whether the prediction leaves a gene constant though the truth varies."""
    return prediction.constant & ~truth.constant


def correlation(first: Centred, second: Centred) -> FloatArray:
    """(n_genes,) Pearson correlation of matching columns, NaN where either is constant."""
    products: FloatArray = np.einsum("ij,ij->j", first.z, second.z)
    defined = ~(first.constant | second.constant)
    scale = np.sqrt(np.where(defined, first.sum_squares * second.sum_squares, 1.0))
    return np.where(defined, np.clip(products / scale, -1, 1), np.nan)
