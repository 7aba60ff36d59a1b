"""How close a prediction is to the truth, spot by spot."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.errors import DataError
from stbench.metrics.score import (
    CONSTANT,
    Centred,
    FloatArray,
    Score,
    as_matrix,
    by_genes,
    centred,
    correlation,
    flattened,
    held_pair,
    over_genes,
)

NO_GENE = "every gene is constant in the truth"
AFFINE = 1e-9  # 1 - r^2 below which a gene map counts as a line in the depth


def pcc(true: ArrayLike, pred: ArrayLike) -> Score:
    """Pearson correlation of truth and prediction over the spots of one slide, averaged over genes.

    Range [-1, 1], higher is better. A gene that is constant in the truth is left out and counted in ``n_undefined``;
    with no gene left the score is undefined. A gene that is constant in the prediction alone scores 0 and is counted in
    ``n_constant``; before rules 2 (:data:`stbench.metrics.score.RULES`) it was left out, and a prediction of the easy
    genes alone could win.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.

    Returns:
        Mean over genes; ``per_gene`` holds the single correlations.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    per_gene, flat = by_genes(_correlations, true, pred)
    return over_genes(per_gene, NO_GENE, n_constant=int(flat.sum()))


def _correlations(truth: FloatArray, prediction: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Of every gene, 0 where only the prediction is constant, and where that is."""
    y, p = centred(truth), centred(prediction)
    flat = flattened(y, p)
    return np.where(flat, 0.0, correlation(y, p)), flat


def mse(true: ArrayLike, pred: ArrayLike) -> Score:
    """Mean squared error over spots and genes of one slide.

    Range [0, inf), lower is better, unit: square of the expression scale. Constant genes count like others.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), same scale.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    (per_gene,) = by_genes(lambda truth, prediction: (np.square(truth - prediction).mean(axis=0),), true, pred)
    return over_genes(per_gene, "")


def mae(true: ArrayLike, pred: ArrayLike) -> Score:
    """Mean absolute error over spots and genes of one slide.

    Range [0, inf), lower is better, unit: the expression scale. Constant genes count like others.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), same scale.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    (per_gene,) = by_genes(lambda truth, prediction: (np.abs(truth - prediction).mean(axis=0),), true, pred)
    return over_genes(per_gene, "")


def partial_pcc(true: ArrayLike, pred: ArrayLike, log_depth: ArrayLike) -> Score:
    """Correlation of truth and prediction given the depth of the spot, averaged over genes.

    ``(r_yp - r_yd r_pd) / sqrt((1 - r_yd^2)(1 - r_pd^2))`` with y truth, p prediction, d depth, over the spots of one
    slide. Range [-1, 1], higher is better. A gene that is constant in the truth, or affine in the depth in the truth or
    in the prediction, is left out and counted. One that is constant in the prediction alone scores 0 and is counted in
    ``n_constant`` (left out before rules 2, :data:`stbench.metrics.score.RULES`).

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.
        log_depth: (n_spots,) logarithm of the spot's total UMI.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = held_pair(true, pred)
    depth = as_matrix(np.reshape(np.asarray(log_depth), (-1, 1)), "log depth")
    if len(depth) != len(truth):
        raise DataError(f"expected log depth of {len(truth)} spots as the truth, found {len(depth)}")
    d = centred(depth)
    per_gene, flat = by_genes(lambda y, p: _given_depth(centred(y), centred(p), d), truth, prediction)
    reason = "every gene is constant in the truth or a line in the depth"
    return over_genes(per_gene, reason, n_constant=int(flat.sum()))


def _given_depth(y: Centred, p: Centred, d: Centred) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Partial correlation of every gene, 0 where only the prediction is constant, and where that is."""
    r_yp, r_yd, r_pd = correlation(y, p), correlation(y, d), correlation(p, d)
    left = (1 - r_yd**2) * (1 - r_pd**2)
    defined = np.minimum(1 - r_yd**2, 1 - r_pd**2) > AFFINE
    flat = flattened(y, p) & (1 - r_yd**2 > AFFINE)
    partial = np.where(defined, r_yp - r_yd * r_pd, np.nan) / np.sqrt(np.where(defined, left, 1.0))
    return np.where(flat, 0.0, partial), flat


class _OfSlide(NamedTuple):
    """Moments of truth and prediction, in this order, over the n spots of a slide; the letters of :class:`_Moments`."""

    n: int
    mean: FloatArray
    squares: FloatArray
    products: FloatArray
    largest: FloatArray

    @classmethod
    def of(cls, true: ArrayLike, pred: ArrayLike) -> Self:
        found = by_genes(cls._of_genes, true, pred)
        return cls(len(np.asarray(true)), *found)

    @staticmethod
    def _of_genes(truth: FloatArray, prediction: FloatArray) -> tuple[FloatArray, ...]:
        pair = np.stack((truth, prediction))
        mean = pair.mean(axis=1)
        z = pair - mean[:, None]
        squares, products = np.einsum("sij,sij->sj", z, z), np.einsum("ij,ij->j", z[0], z[1])
        return mean, squares, products, np.abs(pair).max(axis=1)


class _Moments:
    """Moments of truth and prediction over all spots added so far."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = np.zeros((2, 1))  # truth, prediction
        self.squares = np.zeros((2, 1))
        self.products = np.zeros(1)
        self.largest = np.zeros((2, 1))

    def add(self, slide: _OfSlide) -> None:
        n, shift, weight = slide.n, slide.mean - self.mean, self.n * slide.n / (self.n + slide.n)
        self.squares = self.squares + slide.squares + weight * shift**2
        self.products = self.products + slide.products + weight * shift[0] * shift[1]
        self.mean = self.mean + shift * n / (self.n + n)
        self.largest = np.maximum(self.largest, slide.largest)
        self.n += n


class PooledPcc:
    """Correlation over the spots of several slides put together, averaged over genes; slides stream through.

    Range [-1, 1], higher is better. It rewards knowing the level of each slide, so it is printed beside :func:`pcc`,
    never instead of it. Genes constant over all slides in the truth are left out and counted; those constant over all
    slides in the prediction alone score 0 and are counted in ``n_constant`` (left out before rules 2,
    :data:`stbench.metrics.score.RULES`).
    """

    def __init__(self) -> None:
        self._all = _Moments()

    def update(self, true: ArrayLike, pred: ArrayLike) -> None:
        """Add the spots of one slide.

        Args:
            true: (n_spots, n_genes) expression.
            pred: (n_spots, n_genes), same scale.

        Raises:
            DataError: shapes differ, a value is not finite, or the number of genes differs from earlier slides.
        """
        self._add(true, pred)

    def _add(self, true: ArrayLike, pred: ArrayLike) -> _OfSlide:
        slide = _OfSlide.of(true, pred)
        if self._all.n and self._all.products.shape != slide.products.shape:
            found = len(slide.products)
            raise DataError(f"expected {len(self._all.products)} genes as in earlier slides, found {found}")
        self._all.add(slide)
        return slide

    def value(self) -> Score:
        """The score of all slides added so far; undefined before the first."""
        if not self._all.n:
            return Score(None, reason="no slide")
        return self._share(self._all.products)

    def _share(self, products: FloatArray) -> Score:
        """A (n_genes,) part of the sums of products as a part of the correlation."""
        varies, predicted = np.sqrt(self._all.squares / self._all.n) > CONSTANT * self._all.largest
        scale = np.sqrt(np.where(varies & predicted, self._all.squares[0] * self._all.squares[1], 1.0))
        found = np.where(predicted, np.clip(products / scale, -1, 1), 0.0)
        return over_genes(np.where(varies, found, np.nan), NO_GENE, n_constant=int((varies & ~predicted).sum()))


class PooledWithin(PooledPcc):
    """The part of :class:`PooledPcc` that comes from differences of spots within patients, averaged over genes.

    ``W = sum_k sum_i (y_ki - y_k)(p_ki - p_k) / (N sd_y sd_p)`` with y truth, p prediction, y_k and p_k their means
    over the spots i of patient k, and both sd over all N spots: pooled PCC = :class:`PooledBetween` + W exactly, gene
    by gene and on average. Range [-1, 1], higher is better; 0 for a prediction that knows the patient alone. Constant
    genes count as in :class:`PooledPcc`. Undefined where the patient of a slide is not known.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[str | None, _Moments] = {}

    def update(self, true: ArrayLike, pred: ArrayLike, patient: str | None = None) -> None:
        """Add the spots of one slide.

        Args:
            true: (n_spots, n_genes) expression.
            pred: (n_spots, n_genes), same scale.
            patient: whose slide it is, None where that is not known.

        Raises:
            DataError: as of :meth:`PooledPcc.update`.
        """
        self._of.setdefault(patient, _Moments()).add(self._add(true, pred))

    def value(self) -> Score:
        """The score of all slides added so far; undefined before the first."""
        if None in self._of:
            return Score(None, reason="the patient of a slide is not known")
        if not self._of:
            return Score(None, reason="no slide")
        return self._share(self._part(np.sum([moments.products for moments in self._of.values()], axis=0)))

    def _part(self, within: FloatArray) -> FloatArray:
        return within


class PooledBetween(PooledWithin):
    """The part of :class:`PooledPcc` that comes from differences between patients, averaged over genes.

    ``B = sum_k N_k (y_k - y)(p_k - p) / (N sd_y sd_p)`` in the letters of :class:`PooledWithin`, N_k the spots of
    patient k, y and p means over all spots. Range [-1, 1], higher is better: a prediction that knows the level of each
    patient and nothing of its slides has it all here. Constant genes and unknown patients as in :class:`PooledWithin`.
    """

    def _part(self, within: FloatArray) -> FloatArray:
        return self._all.products - within
