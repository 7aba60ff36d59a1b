"""Scores of samples: whether the draws of a generative method have the right spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from stbench.metrics.score import Score, as_draws, as_pair, centred, over_genes

ONE_DRAW = "needs at least two draws, found one"
_BLOCK = 1024  # spots sorted at once; bounds the memory


def crps(true: ArrayLike, draws: ArrayLike) -> Score:
    """Fair continuous ranked probability score, averaged over spots and genes of one slide.

    ``(1/M) sum_i |x_i - y| - (1/(2M(M-1))) sum_ij |x_i - x_j|``; with one draw the mean absolute error. Range
    (-inf, inf) with expectation in [0, inf), lower is better, unit: the expression scale. Constant genes count like
    others.

    Args:
        true: (n_spots, n_genes) expression.
        draws: (n_draws, n_spots, n_genes), same scale.

    Raises:
        DataError: shapes do not fit or a value is not finite.
    """
    truth, stack = as_draws(true, draws)
    n_draws, n_spots = len(stack), len(truth)
    weight = (2 * np.arange(1, n_draws + 1) - n_draws - 1) / (n_draws * max(n_draws - 1, 1))
    total = np.zeros(truth.shape[1])
    for start in range(0, n_spots, _BLOCK):
        y, x = truth[start : start + _BLOCK], stack[:, start : start + _BLOCK].astype(np.float64)
        total += np.abs(x - y).mean(axis=0).sum(axis=0)
        x.sort(axis=0)
        total -= np.tensordot(weight, x, axes=1).sum(axis=0)
    return over_genes(total / n_spots, "")


def variance_ratio(true: ArrayLike, pred: ArrayLike) -> Score:
    """Variance over spots of the prediction divided by that of the truth, median over genes of one slide.

    Range [0, inf), 1 is the right spread, below it the maps are over-smoothed. Genes constant in the truth are left out
    and counted; a gene constant in the prediction has ratio 0.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), one draw or a mean of draws, same scale.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = (centred(matrix) for matrix in as_pair(true, pred))
    spread = np.where(prediction.constant, 0.0, prediction.sum_squares)
    ratio = np.where(truth.constant, np.nan, spread / np.where(truth.constant, 1.0, truth.sum_squares))
    return over_genes(ratio, "every gene is constant in the truth", median=True)


def draw_variance(true: ArrayLike, draws: ArrayLike) -> Score:
    """Sampling variance: unbiased variance between draws, averaged over spots and genes of one slide.

    Range [0, inf), neither direction is better; 0 for a method whose draws are all the same. Unit: square of the
    expression scale. Undefined for one draw.

    Args:
        true: (n_spots, n_genes) expression, used for its shape alone.
        draws: (n_draws, n_spots, n_genes).

    Raises:
        DataError: shapes do not fit or a value is not finite.
    """
    truth, stack = as_draws(true, draws)
    if len(stack) < 2:
        return Score(None, 0, truth.shape[1], reason=ONE_DRAW)
    mean, squares = np.zeros(truth.shape), np.zeros(truth.shape)
    for number, draw in enumerate(stack, start=1):
        shift = draw - mean
        mean += shift / number
        squares += shift * (draw - mean)
    return over_genes(squares.mean(axis=0) / (len(stack) - 1), "")


def coverage_error(true: ArrayLike, draws: ArrayLike) -> Score:
    """Share of truths between the smallest and the largest draw, minus the (M-1)/(M+1) of a perfect sampler.

    Range [-1, 1], 0 is best: below it the draws are too narrow or beside the truth, above it too wide. Where the truth
    equals some draws its rank is taken at random among them, in expectation. Undefined for one draw.

    Args:
        true: (n_spots, n_genes) expression.
        draws: (n_draws, n_spots, n_genes), same scale.

    Raises:
        DataError: shapes do not fit or a value is not finite.
    """
    truth, stack = as_draws(true, draws)
    n_draws = len(stack)
    if n_draws < 2:
        return Score(None, 0, truth.shape[1], reason=ONE_DRAW)
    below, equal = np.zeros(truth.shape, dtype=np.int32), np.zeros(truth.shape, dtype=np.int32)
    for draw in stack:
        below += draw < truth
        equal += draw == truth
    ranks_outside = (below == 0).astype(np.int32) + (below + equal == n_draws)
    covered = (1 - ranks_outside / (equal + 1)).mean(axis=0)
    return over_genes(covered - (n_draws - 1) / (n_draws + 1), "")
