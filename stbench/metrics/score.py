"""What a metric returns, and the checks and moments that several metrics share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.errors import DataError

FloatArray = NDArray[np.float64]

BLOCK = 2**24  # values of the genes that are worked on at once, 128 MB in float64
CONSTANT = 1e-7
"""A gene is constant if its standard deviation is at most this times its largest absolute value (float32 rounding)."""


RULES = 3
"""Raised when the numbers of a metric move; a record says under which it was scored.

2: a gene that the prediction leaves constant though the truth varies scores 0 in correlations; it was left out. The
CRPS of a point prediction is that of a normal law around it, and one draw has none; both had their mean absolute error.

3: CRPS and energy score of calibrated draws know that these have their mean in common, which is no gain in either
(:mod:`stbench.metrics.calibrated`). All other scores are those of rules 2.
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
    return as_held(values, what).astype(np.float64, copy=False)


def as_held(values: ArrayLike, what: str) -> NDArray[np.floating]:
    """(n_spots, n_genes), not copied where it is float32 or float64, else in float64; raises as :func:`as_matrix`."""
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
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
    first, second = held_pair(true, pred)
    return first.astype(np.float64, copy=False), second.astype(np.float64, copy=False)


def held_pair(true: ArrayLike, pred: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Truth and prediction of one shape as :func:`as_held` leaves them; raises as :func:`as_pair`."""
    first, second = as_held(true, "true expression"), as_held(pred, "predicted expression")
    if first.shape != second.shape:
        raise DataError(f"expected a prediction of shape {first.shape} as the truth, found {second.shape}")
    return first, second


def gene_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Columns of a (..., n_spots, n_genes) array, some genes at a time: what is worked on then has a bounded size.

    Blocks hold two genes at least, where there are two: numpy sums a lone column in another order.
    """
    n_spots, n_genes = shape[-2:]
    n_blocks = -(-n_genes // max(4, BLOCK // n_spots))
    ends = [n_genes * number // n_blocks for number in range(n_blocks + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


def by_genes(
    measure: Callable[[FloatArray, FloatArray], tuple[NDArray[Any], ...]], true: ArrayLike, pred: ArrayLike
) -> tuple[NDArray[Any], ...]:
    """What a measure that looks at genes one by one says of all, some genes at a time.

    Args:
        measure: of (n_spots, n) truth and prediction of n genes; gives arrays (..., n).
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), same scale.

    Returns:
        The arrays, (..., n_genes) each.

    Raises:
        DataError: as of :func:`as_pair`.
    """
    truth, prediction = held_pair(true, pred)
    parts = [
        measure(*(held[:, genes].astype(np.float64, copy=False) for held in (truth, prediction)))
        for genes in gene_blocks(truth.shape)
    ]
    return tuple(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))


def as_draws(true: ArrayLike, draws: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Truth and draws in the precision they came in, so that a large stack is not copied.

    Raises:
        DataError: a matrix is bad (:func:`as_matrix`) or the shape is not (n_draws, n_spots, n_genes).
    """
    expression, stack = as_held(true, "true expression"), np.asarray(draws)
    if stack.ndim != 3 or not len(stack) or stack.shape[1:] != expression.shape:
        raise DataError(f"expected draws of shape (n_draws, *{expression.shape}), found {stack.shape}")
    for number, draw in enumerate(stack):
        as_held(draw, f"draw {number}")
    return expression, stack


class Content:
    """Values as a key of a cache: equal where the values are, and not held once they were taken.

    A cache keeps its keys; with the values of a large slide in them it would keep as much memory as the slide.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self._values: NDArray[Any] | None = np.ascontiguousarray(values)
        said = f"{values.dtype} {values.shape}".encode()
        self._digest = hashlib.sha256(said + hashlib.sha256(self._values.data).digest()).digest()

    def take(self) -> NDArray[Any]:
        """The values, in C order; once."""
        values, self._values = self._values, None
        assert values is not None
        return values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


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


class Varying(Protocol):
    """Genes of which is known whether they vary."""

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(n_genes,) whether the gene does not vary over spots."""


def flattened(truth: Varying, prediction: Varying) -> NDArray[np.bool_]:
    """(n_genes,) whether the prediction leaves a gene constant though the truth varies."""
    return prediction.constant & ~truth.constant


def correlation(first: Centred, second: Centred) -> FloatArray:
    """(n_genes,) Pearson correlation of matching columns, NaN where either is constant."""
    products: FloatArray = np.einsum("ij,ij->j", first.z, second.z)
    defined = ~(first.constant | second.constant)
    scale = np.sqrt(np.where(defined, first.sum_squares * second.sum_squares, 1.0))
    return np.where(defined, np.clip(products / scale, -1, 1), np.nan)
