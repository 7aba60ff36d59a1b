"""How close a prediction is to the truth, spot by spot."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from stbench.errors import DataError
from stbench.metrics.score import CONSTANT, Score, as_matrix, as_pair, centred, correlation, flattened, over_genes

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
    truth, prediction = as_pair(true, pred)
    y, p = centred(truth), centred(prediction)
    flat = flattened(y, p)
    return over_genes(np.where(flat, 0.0, correlation(y, p)), NO_GENE, n_constant=int(flat.sum()))


def mse(true: ArrayLike, pred: ArrayLike) -> Score:
    """Mean squared error over spots and genes of one slide.

    Range [0, inf), lower is better, unit: square of the expression scale. Constant genes count like others.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), same scale.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = as_pair(true, pred)
    return over_genes(np.square(truth - prediction).mean(axis=0), "")


def mae(true: ArrayLike, pred: ArrayLike) -> Score:
    """Mean absolute error over spots and genes of one slide.

    Range [0, inf), lower is better, unit: the expression scale. Constant genes count like others.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), same scale.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = as_pair(true, pred)
    return over_genes(np.abs(truth - prediction).mean(axis=0), "")


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
    truth, prediction = as_pair(true, pred)
    depth = as_matrix(np.reshape(np.asarray(log_depth), (-1, 1)), "log depth")
    if len(depth) != len(truth):
        raise DataError(f"expected log depth of {len(truth)} spots as the truth, found {len(depth)}")
    y, p, d = centred(truth), centred(prediction), centred(depth)
    r_yp, r_yd, r_pd = correlation(y, p), correlation(y, d), correlation(p, d)
    left = (1 - r_yd**2) * (1 - r_pd**2)
    defined = np.minimum(1 - r_yd**2, 1 - r_pd**2) > AFFINE
    flat = flattened(y, p) & (1 - r_yd**2 > AFFINE)
    partial = np.where(defined, r_yp - r_yd * r_pd, np.nan) / np.sqrt(np.where(defined, left, 1.0))
    reason = "every gene is constant in the truth or a line in the depth"
    return over_genes(np.where(flat, 0.0, partial), reason, n_constant=int(flat.sum()))


class PooledPcc:
    """Correlation over the spots of several slides put together, averaged over genes; slides stream through.

    Range [-1, 1], higher is better. It rewards knowing the level of each slide, so it is printed beside :func:`pcc`,
    never instead of it. Genes constant over all slides in the truth are left out and counted; those constant over all
    slides in the prediction alone score 0 and are counted in ``n_constant`` (left out before rules 2,
    :data:`stbench.metrics.score.RULES`).
    """

    def __init__(self) -> None:
        self._n = 0
        self._mean = np.zeros((2, 1))  # truth, prediction
        self._squares = np.zeros((2, 1))
        self._products = np.zeros(1)
        self._largest = np.zeros((2, 1))

    def update(self, true: ArrayLike, pred: ArrayLike) -> None:
        """Add the spots of one slide.

        Args:
            true: (n_spots, n_genes) expression.
            pred: (n_spots, n_genes), same scale.

        Raises:
            DataError: shapes differ, a value is not finite, or the number of genes differs from earlier slides.
        """
        pair = np.stack(as_pair(true, pred))
        n, n_genes = pair.shape[1:]
        if self._n and self._products.shape != (n_genes,):
            raise DataError(f"expected {len(self._products)} genes as in earlier slides, found {n_genes}")
        mean = pair.mean(axis=1)
        z = pair - mean[:, None]
        shift, weight = mean - self._mean, self._n * n / (self._n + n)
        self._squares = self._squares + np.einsum("sij,sij->sj", z, z) + weight * shift**2
        self._products = self._products + np.einsum("ij,ij->j", z[0], z[1]) + weight * shift[0] * shift[1]
        self._mean = self._mean + shift * n / (self._n + n)
        self._largest = np.maximum(self._largest, np.abs(pair).max(axis=1))
        self._n += n

    def value(self) -> Score:
        """The score of all slides added so far; undefined before the first."""
        if not self._n:
            return Score(None, reason="no slide")
        varies, predicted = np.sqrt(self._squares / self._n) > CONSTANT * self._largest
        scale = np.sqrt(np.where(varies & predicted, self._squares[0] * self._squares[1], 1.0))
        found = np.where(predicted, np.clip(self._products / scale, -1, 1), 0.0)
        return over_genes(np.where(varies, found, np.nan), NO_GENE, n_constant=int((varies & ~predicted).sum()))
