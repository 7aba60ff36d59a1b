"""Whether a prediction keeps the relations between genes and the smoothness of their maps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from stbench.errors import DataError
from stbench.metrics.score import (
    Centred,
    FloatArray,
    Score,
    Varying,
    as_matrix,
    by_genes,
    centred,
    correlation,
    flattened,
    gene_blocks,
    held_pair,
)

TIE = 0.02  # neighbours this much further away than the k-th are ties
MAX_PITCHES = 2.0  # longer edges join fragments across gaps
MAX_CONSTANT = 0.05  # share of panel genes that a prediction may leave constant
MIN_MORAN_SD = 1e-6  # below it the predicted Moran's I differ by rounding only
MOST_TIES = 256  # a spot with more neighbours lies on a heap; the graph of a heap grows with the square of its spots
RANK_ONE = 1e-9  # 1 - |c| below which every pair of predicted genes is one map


class CrowdedError(DataError):
    """More than ``MOST_TIES`` spots lie as near to one as its k-th neighbour, as where many share a place."""


def gsc(true: ArrayLike, pred: ArrayLike) -> Score:
    """Gene-gene structure correlation (Eqs. 18-19): do genes vary together as they do in the truth?

    Pearson correlation, over gene pairs, of the true and the predicted gene-gene correlations of one slide. Range
    [-1, 1], higher is better; invariant to shift and positive scale of each gene. Genes constant in the truth or in the
    prediction are left out and counted, the latter in ``n_constant`` too. Undefined if the prediction makes more than
    5 % of the panel constant, if all its genes are one map (rank one), or if fewer than 3 genes are left.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.

    Returns:
        ``n_used`` counts genes.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    expression, predicted = held_pair(true, pred)
    truth, prediction = _of_genes(expression, predicted, None)
    used = ~(truth.constant | prediction.constant)
    said = _Counts(used, flattened(truth, prediction))
    if reason := _unusable(truth, prediction):
        return said.score(None, reason)
    v_pred = _pairs(predicted, used)
    if (np.abs(v_pred) > 1 - RANK_ONE).all():
        return said.score(None, "the prediction has rank one: every gene is the same map")
    of_pairs = centred(v_pred[:, None])
    del v_pred  # a fifth of a GB for 5,000 genes, as everything of all pairs
    value = correlation(centred(_pairs(expression, used)[:, None]), of_pairs)[0]
    return said.score(value, "gene-gene correlations are all equal" if np.isnan(value) else "")


def ssc(true: ArrayLike, pred: ArrayLike, xy: ArrayLike, k: int = 8, *, paper: bool = False) -> Score:
    """Spatial structure correlation (Eqs. 20-22): do the maps of the genes have the smoothness of the truth?

    Pearson correlation, over genes, of true and predicted Moran's I on one slide. Range [-1, 1], higher is better. It
    does not see an overall smoothing: print :func:`moran_bias` beside it. Genes constant in the truth or in the
    prediction are left out and counted, the latter in ``n_constant`` too. Undefined if the prediction makes more than
    5 % of the panel constant, if the predicted Moran's I are all equal (sd below 1e-6, as for rank-one predictions), if
    fewer than 3 genes are left, or if more than 256 spots lie as near to one as its k-th neighbour (many at one place).

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.
        xy: (n_spots, 2) spot centres, any unit.
        k: neighbours per spot.
        paper: take exactly k neighbours in spot order and keep long edges, as the paper; see :func:`spatial_weights`.

    Returns:
        ``n_used`` counts genes.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction, crowded = _maps(true, pred, xy, k, paper=paper)
    used = ~(np.isnan(truth.moran) | np.isnan(prediction.moran))
    said = _Counts(used, flattened(truth, prediction))
    if reason := crowded or _unusable(truth, prediction) or ("" if used.any() else "no spot has a neighbour"):
        return said.score(None, reason)
    if prediction.moran[used].std() < MIN_MORAN_SD:
        return said.score(None, "the predicted Moran's I are equal up to rounding")
    value = correlation(centred(truth.moran[used, None]), centred(prediction.moran[used, None]))[0]
    return said.score(value, "the true Moran's I are all equal" if np.isnan(value) else "")


def moran_bias(true: ArrayLike, pred: ArrayLike, xy: ArrayLike, k: int = 8, *, paper: bool = False) -> Score:
    """Mean over genes of predicted minus true Moran's I: above 0 the maps are too smooth, below 0 too rough.

    Range [-2, 2], best at 0. Genes constant in the truth or in the prediction are left out and counted; with none left
    the score is undefined, as where more than 256 spots lie as near to one as its k-th neighbour.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.
        xy: (n_spots, 2) spot centres, any unit.
        k: neighbours per spot.
        paper: as in :func:`ssc`.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction, crowded = _maps(true, pred, xy, k, paper=paper)
    difference = prediction.moran - truth.moran
    used = ~np.isnan(difference)
    reason = crowded or ("" if used.any() else "no gene has a Moran's I on both sides")
    value = float(difference[used].mean()) if used.any() else None
    return _Counts(used, flattened(truth, prediction)).score(value, reason, difference)


def morans_i(values: ArrayLike, weights: csr_matrix) -> FloatArray:
    """Moran's I of every gene map (Eq. 21).

    Args:
        values: (n_spots, n_genes) expression, any scale.
        weights: (n_spots, n_spots) spatial weights, e.g. of :func:`spatial_weights`. Spots without neighbours stay in
            the mean and the variance and add nothing to the sum of weights.

    Returns:
        (n_genes,) values, 1 for the smoothest maps, -1/(n_spots - 1) expected of noise; NaN for constant genes, and for
        all genes when no spot has a neighbour.

    Raises:
        DataError: a value is not finite, or the shapes do not fit.
    """
    matrix = as_matrix(values, "expression")
    if weights.shape != (len(matrix), len(matrix)):
        raise DataError(f"expected weights between {len(matrix)} spots as in the expression, found {weights.shape}")
    return _moran(centred(matrix), weights)


def spatial_weights(
    xy: ArrayLike, k: int = 8, *, ties: bool = True, max_pitches: float | None = MAX_PITCHES
) -> csr_matrix:
    """Symmetrised k-nearest-neighbour graph with weights 0 and 1 (Eq. 20).

    Args:
        xy: (n_spots, 2) spot centres, any unit.
        k: neighbours per spot, capped at n_spots - 1.
        ties: take every spot within 2 % of the k-th distance, so that the order of spots does not matter; False takes
            exactly k, ties by spot order.
        max_pitches: drop edges longer than this many pitches (median distance to the 4 nearest spots); None keeps all.

    Returns:
        (n_spots, n_spots) CSR float64, symmetric, empty diagonal.

    Raises:
        DataError: the positions are not finite or not (n_spots, 2), or k is below 1.
        CrowdedError: more than ``MOST_TIES`` spots lie as near to one as its k-th neighbour.
    """
    positions = as_matrix(xy, "positions")
    if positions.shape[1] != 2 or k < 1:
        raise DataError(f"expected positions (n_spots, 2) and k >= 1, found {positions.shape} and k = {k}")
    n = len(positions)
    k = min(k, n - 1)
    if k == 0:
        return csr_matrix((n, n), dtype=np.float64)
    distance, neighbour = _candidates(positions, k)
    if ties:
        kept = distance <= (1 + TIE) * distance[:, k - 1 : k]
    else:
        kept = np.zeros(distance.shape, dtype=bool)
        kept[:, :k] = True
    if max_pitches is not None:
        kept &= distance <= (1 + TIE) * max_pitches * _pitch(distance)
    kept &= np.isfinite(distance)
    rows = np.repeat(np.arange(n), kept.sum(axis=1))
    directed = csr_matrix((np.ones(len(rows)), (rows, neighbour[kept])), shape=(n, n))
    return csr_matrix(directed.maximum(directed.T))


def _candidates(positions: FloatArray, k: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Distances and indices of at least k other spots, and of all ties with the k-th, by distance then spot order."""
    n = len(positions)
    count, most = min(n, 2 * k + 2), max(MOST_TIES, 2 * k + 2)
    _check_heaps(positions, most)
    tree = cKDTree(positions)
    while True:
        found, neighbour = tree.query(positions, k=np.arange(1, count + 1))
        distance: FloatArray = np.where(neighbour == np.arange(n)[:, None], np.inf, found)
        reach = (1 + TIE) * np.sort(distance, axis=1)[:, k - 1]
        open_ended = np.max(found, axis=1) <= reach
        if count == n or not open_ended.any():
            break
        if count >= most:
            raise _crowded(positions, int(np.argmax(open_ended)))
        count = min(n, 2 * count, max(count + 1, most))
    order = np.lexsort((neighbour, distance), axis=1)
    return np.take_along_axis(distance, order, axis=1), np.take_along_axis(neighbour, order, axis=1)


def _check_heaps(positions: FloatArray, most: int) -> None:
    """Looked for first: to ask for the neighbours of every spot of a heap takes the square of their number."""
    if len(positions) <= most:
        return
    _, first, n_spots = np.unique(positions, axis=0, return_index=True, return_counts=True)
    if n_spots.max() >= most:
        raise _crowded(positions, int(first[np.argmax(n_spots)]))


def _crowded(positions: FloatArray, spot: int) -> CrowdedError:
    x, y = positions[spot]
    here = int((positions == positions[spot]).all(axis=1).sum())
    at = f"{here} at one place" if here > 1 else "many equally far"
    return CrowdedError(
        f"expected at most {MOST_TIES} spots as near as the neighbours of a spot, found more around x {x:g}, y {y:g} "
        f"({at}); leave out spots whose position is not known"
    )


def _pitch(distance: FloatArray) -> float:
    """Distance between grid neighbours, from four of them: where spots are jittered, the nearest alone is too near."""
    nearest = distance[:, :4]
    return float(np.median(nearest[np.isfinite(nearest)]))


class _Counts(NamedTuple):
    """(n_genes,) which genes a structure is compared on, and which the prediction leaves constant."""

    used: NDArray[np.bool_]
    flat: NDArray[np.bool_]

    def score(self, value: float | None, reason: str, per_gene: FloatArray | None = None) -> Score:
        n_used = int(self.used.sum())
        return Score(value, n_used, len(self.used) - n_used, per_gene, reason, int(self.flat.sum()))


class _Maps(NamedTuple):
    """(n_genes,) Moran's I of every gene, NaN where it has none, and whether the gene does not vary over spots."""

    moran: FloatArray
    constant: NDArray[np.bool_]


def _maps(true: ArrayLike, pred: ArrayLike, xy: ArrayLike, k: int, *, paper: bool) -> tuple[_Maps, _Maps, str]:
    """Of truth and prediction; NaN with a reason where spots lie on a heap."""
    truth, prediction = held_pair(true, pred)
    if len(positions := as_matrix(xy, "positions")) != len(truth):
        raise DataError(f"expected positions of {len(truth)} spots as in the truth, found {len(positions)}")
    try:
        weights = spatial_weights(xy, k, ties=False, max_pitches=None) if paper else spatial_weights(xy, k)
    except CrowdedError as error:
        return *_of_genes(truth, prediction, None), str(error)
    return *_of_genes(truth, prediction, weights), ""


def _of_genes(truth: ArrayLike, prediction: ArrayLike, weights: csr_matrix | None) -> tuple[_Maps, _Maps]:
    def measure(*pair: FloatArray) -> tuple[NDArray[Any], ...]:
        y, p = map(centred, pair)
        return (*(_moran(maps, weights) for maps in (y, p)), y.constant, p.constant)

    i_true, i_pred, flat_true, flat_pred = by_genes(measure, truth, prediction)
    return _Maps(i_true, flat_true), _Maps(i_pred, flat_pred)


def _moran(maps: Centred, weights: csr_matrix | None) -> FloatArray:
    if weights is None or (s0 := weights.sum()) == 0:
        return np.full(maps.z.shape[1], np.nan)
    cross: FloatArray = np.einsum("ij,ij->j", maps.z, weights @ maps.z)
    return np.where(maps.constant, np.nan, len(maps.z) / s0 * cross / np.where(maps.constant, 1.0, maps.sum_squares))


def _pairs(values: NDArray[np.floating], used: NDArray[np.bool_]) -> FloatArray:
    """Strict upper triangle of the gene-gene correlations (Eq. 18)."""
    unit, ends = np.empty((used.sum(), len(values))).T, np.cumsum(used)
    for genes in gene_blocks(values.shape):
        maps, own = centred(values[:, genes].astype(np.float64, copy=False)), used[genes]
        end = ends[genes][-1]
        unit[:, end - own.sum() : end] = maps.z[:, own] / np.sqrt(maps.sum_squares[own])
    all_ = unit.T @ unit
    return np.concatenate([row[gene:] for gene, row in enumerate(all_, start=1)])  # indices would take twice its room


def _unusable(truth: Varying, prediction: Varying) -> str:
    """Why no structure can be compared, empty if it can."""
    flat = int(flattened(truth, prediction).sum())
    if flat > MAX_CONSTANT * len(prediction.constant):
        return f"the prediction is constant for {flat} of {len(prediction.constant)} genes"
    left = int((~(truth.constant | prediction.constant)).sum())
    return f"{left} genes vary in truth and prediction, 3 are needed" if left < 3 else ""
