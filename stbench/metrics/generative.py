"""Scores of samples: whether the draws of a generative method have the right spread."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from stbench.errors import DataError
from stbench.metrics.calibrated import lengthened, lengths
from stbench.metrics.score import FloatArray, Score, as_draws, by_genes, centred, gene_blocks, over_genes

ONE_DRAW = "needs at least two draws, found one"
NO_SPREAD = "needs at least two draws, or the residuals of a point prediction on validation slides; found neither"
_BLOCK = 1024  # spots worked on at once; bounds the memory
_PAIRS = 2000  # gene pairs of the variogram score
_PAIR_BLOCK = 2**16  # spots x pairs at once, small enough for a cache


def crps(true: ArrayLike, draws: ArrayLike, spread: ArrayLike | None = None, calibration: float | None = None) -> Score:
    """Continuous ranked probability score of draws or of a normal law, averaged over spots and genes of one slide.

    Several draws: the fair estimate, ``(1/M) sum_i |x_i - y| - (1/(2M(M-1))) sum_ij |x_i - x_j|``, of calibrated ones
    with other lengths of their deviations (:mod:`stbench.metrics.calibrated`; before rules 3 as they stood). One, a
    point prediction p: that of the normal law N(p, s^2), ``s (z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi))`` with
    z = (y - p)/s (Gneiting and Raftery 2007, Eq. 5), and the score says that it is ``dressed``; undefined without s.
    Before rules 2 (:data:`stbench.metrics.score.RULES`) a point prediction had its mean absolute error, with which no
    sampler could be compared. Range (-inf, inf) with expectation in [0, inf), lower is better, unit: the expression
    scale. Constant genes count like others.

    Args:
        true: (n_spots, n_genes) expression.
        draws: (n_draws, n_spots, n_genes), same scale.
        spread: (n_genes,) the s of a point prediction, e.g. the standard deviation of its residuals on validation
            slides; 0 gives the absolute error. Several draws do not need it.
        calibration: squared error of the mean over the variance of a draw, by which draws were scaled around their
            mean; None where they were not.

    Raises:
        DataError: shapes do not fit, a value is not finite, or a spread or calibration is negative.
    """
    truth, stack = as_draws(true, draws)
    n_draws, n_spots = len(stack), len(truth)
    if n_draws < 2:
        return _dressed(truth, stack[0], spread)
    weight = (2 * np.arange(1, n_draws + 1) - n_draws - 1) / (n_draws * (n_draws - 1))
    total, by = np.zeros(truth.shape[1]), lengths(calibration, n_draws)
    for start in range(0, n_spots, _BLOCK):
        y, x = truth[start : start + _BLOCK], stack[:, start : start + _BLOCK].astype(np.float64)
        total += np.abs(lengthened(x, by.to_truth) - y).mean(axis=0).sum(axis=0)
        x.sort(axis=0)
        total -= by.apart * np.tensordot(weight, x, axes=1).sum(axis=0)
    return over_genes(total / n_spots, "")


def _dressed(truth: NDArray[np.floating], point: NDArray[np.floating], spread: ArrayLike | None) -> Score:
    """CRPS of normal laws around a point prediction, undefined where their spread is not known."""
    n_genes = truth.shape[1]
    if spread is None:
        return Score(None, 0, n_genes, reason=NO_SPREAD)
    s = np.asarray(spread, dtype=np.float64)
    if s.shape != (n_genes,) or not (np.isfinite(s) & (s >= 0)).all():
        raise DataError(f"expected a finite spread of each of {n_genes} genes, 0 or more, found {s.shape}: {s}")
    blocks = [
        _normal(truth[:, genes].astype(np.float64) - point[:, genes], s[genes]) for genes in gene_blocks(truth.shape)
    ]
    per_gene = np.concatenate(blocks)
    return Score(float(per_gene.mean()), n_genes, 0, per_gene, dressed=True)


def _normal(error: FloatArray, s: FloatArray) -> FloatArray:
    """(n_genes,) CRPS of centred normal laws of spread s at (n_spots, n_genes) errors, mean over spots."""
    z = error / np.where(s > 0, s, 1.0)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    normal = error * erf(z / np.sqrt(2)) + s * (2 * density - 1 / np.sqrt(np.pi))
    return np.asarray(np.where(s > 0, normal, np.abs(error)).mean(axis=0))


def energy_score(true: ArrayLike, draws: ArrayLike, calibration: float | None = None) -> Score:
    """Fair energy score of the whole panel, averaged over the spots of one slide.

    ``(mean_i ||x_i - y|| - sum_ij ||x_i - x_j|| / (2 M (M-1))) / sqrt(G)`` (Gneiting and Raftery 2007), of calibrated
    draws as in :func:`crps`; with one draw the distance alone. Range (-inf, inf) with expectation in [0, inf), lower is
    better, unit: the expression scale. It hardly sees how genes depend on each other; :func:`variogram_score` does.
    Constant genes count like others.

    Args:
        true: (n_spots, n_genes) expression.
        draws: (n_draws, n_spots, n_genes), same scale.
        calibration: as in :func:`crps`.

    Raises:
        DataError: shapes do not fit, a value is not finite or the calibration is negative.
    """
    truth, stack = as_draws(true, draws)
    n_draws = len(stack)
    if n_draws == 1:
        return Score(_distance(stack[0], truth) / np.sqrt(truth.shape[1]), len(truth))
    by = lengths(calibration, n_draws)
    moved = stack if by.to_truth == 1 else lengthened(stack.astype(np.float64), by.to_truth)
    total = sum(_distance(draw, truth) for draw in moved) / n_draws
    apart = sum(_distance(first, second) for first, second in combinations(stack, 2))
    total -= by.apart * apart / (n_draws * (n_draws - 1))
    return Score(total / np.sqrt(truth.shape[1]), len(truth))


def _distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Euclidean distance over genes, mean over spots."""
    rows = [slice(start, start + _BLOCK) for start in range(0, len(first), _BLOCK)]
    parts = [np.linalg.norm(first[some].astype(np.float64) - second[some], axis=1) for some in rows]
    return float(np.concatenate(parts).mean())


def variogram_score(true: ArrayLike, draws: ArrayLike) -> Score:
    """Fair variogram score of order 1/2 over pairs of genes, averaged over the spots of one slide.

    ``(|y_g - y_h|^p - mean_i |x_ig - x_ih|^p)^2 - var_i / M`` with p = 1/2 and var_i the variance of the second term
    over draws (Scheuerer and Hamill 2015; the last term makes it fair); with one draw the square alone. Range (-inf,
    inf) with expectation in [0, inf), lower is better, unit: the expression scale. A proper score of how genes depend
    on each other, unlike GSC. At most 2,000 pairs, fixed and drawn at random from all.

    Args:
        true: (n_spots, n_genes) expression.
        draws: (n_draws, n_spots, n_genes), same scale.

    Raises:
        DataError: shapes do not fit or a value is not finite.
    """
    truth, stack = as_draws(true, draws)
    n_draws, (n_spots, n_genes) = len(stack), truth.shape
    if n_genes < 2:
        return Score(None, 0, n_genes, reason="needs two genes, found one")
    first, second = _gene_pairs(n_genes)
    total, size = 0.0, max(1, _PAIR_BLOCK // len(first))
    for start in range(0, n_spots, size):
        rows = slice(start, start + size)
        roots = _roots(truth[rows].astype(np.float64), first, second)
        mean, squares = np.zeros_like(roots), np.zeros_like(roots)
        for number, draw in enumerate(stack, start=1):
            shift = _roots(draw[rows], first, second) - mean
            mean += shift / number
            squares += (1 - 1 / number) * np.square(shift)
        gaps = np.square(roots - mean) - squares / (n_draws * max(n_draws - 1, 1))
        total += float(gaps.sum(dtype=np.float64))
    return Score(total / (n_spots * len(first)), len(first))


def _roots(values: NDArray[np.floating], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.floating]:
    """(n_spots, n_pairs) roots of the absolute differences of pairs of columns."""
    return np.asarray(np.sqrt(np.abs(values.take(first, axis=1) - values.take(second, axis=1))))


def _gene_pairs(n_genes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The two genes of every pair: all pairs, or 2,000 of them, the same for every slide and method."""
    first, second = np.triu_indices(n_genes, k=1)
    if len(first) <= _PAIRS:
        return first, second
    chosen = np.sort(np.random.default_rng(n_genes).choice(len(first), _PAIRS, replace=False))
    return first[chosen], second[chosen]


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
    (ratio,) = by_genes(_ratio, true, pred)
    return over_genes(ratio, "every gene is constant in the truth", median=True)


def _ratio(true: FloatArray, pred: FloatArray) -> tuple[FloatArray]:
    truth, prediction = centred(true), centred(pred)
    spread = np.where(prediction.constant, 0.0, prediction.sum_squares)
    return (np.where(truth.constant, np.nan, spread / np.where(truth.constant, 1.0, truth.sum_squares)),)


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
    blocks = [_between(stack[:, :, genes]) for genes in gene_blocks(truth.shape)]
    return over_genes(np.concatenate(blocks) / (len(stack) - 1), "")


def _between(stack: NDArray[np.floating]) -> FloatArray:
    """(n_genes,) sum of squares of draws around their mean, mean over spots."""
    mean, squares = np.zeros(stack.shape[1:]), np.zeros(stack.shape[1:])
    for number, draw in enumerate(stack, start=1):
        shift = draw - mean
        mean += shift / number
        squares += shift * (draw - mean)
    return np.asarray(squares.mean(axis=0))


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
    blocks = [_covered(truth[:, genes], stack[:, :, genes]) for genes in gene_blocks(truth.shape)]
    return over_genes(np.concatenate(blocks) - (n_draws - 1) / (n_draws + 1), "")


def _covered(truth: NDArray[np.floating], stack: NDArray[np.floating]) -> FloatArray:
    """(n_genes,) share of truths between the smallest and the largest draw."""
    below, equal = np.zeros(truth.shape, dtype=np.int32), np.zeros(truth.shape, dtype=np.int32)
    for draw in stack:
        below += draw < truth
        equal += draw == truth
    ranks_outside = (below == 0).astype(np.int32) + (below + equal == len(stack))
    return np.asarray((1 - ranks_outside / (equal + 1)).mean(axis=0))


def interval_width(true: ArrayLike, draws: ArrayLike) -> Score:
    """Sharpness: largest minus smallest draw, averaged over spots and genes of one slide.

    Range [0, inf); the narrower the better, but only beside a coverage error near 0. It grows with the number of draws.
    Unit: the expression scale. Undefined for one draw.

    Args:
        true: (n_spots, n_genes) expression, used for its shape alone.
        draws: (n_draws, n_spots, n_genes).

    Raises:
        DataError: shapes do not fit or a value is not finite.
    """
    truth, stack = as_draws(true, draws)
    if len(stack) < 2:
        return Score(None, 0, truth.shape[1], reason=ONE_DRAW)
    parts = (stack[:, :, genes] for genes in gene_blocks(truth.shape))
    widths = [(part.max(axis=0).astype(np.float64) - part.min(axis=0)).mean(axis=0) for part in parts]
    return over_genes(np.concatenate(widths), "")
