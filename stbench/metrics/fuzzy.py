"""The weighted graph of neighbours in which scanpy finds clusters: the fuzzy union of UMAP, without compiling UMAP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

FloatArray = NDArray[np.float64]

_HALVINGS = 64
_CLOSE = 1e-5
_NARROWEST = 1e-3  # of the mean distance


def fuzzy_union(points: NDArray[np.float32], n_neighbours: int) -> sparse.csr_matrix:
    """Weights between 0 and 1 of neighbours (McInnes, Healy and Melville 2018, Algorithms 2 and 3).

    To rounding what ``scanpy.pp.neighbors`` leaves as connectivities below 4,096 points that lie apart; above, its
    neighbours are approximate, these are exact. UMAP itself is compiled anew by every process, which takes longer than
    all else that a run of a small cohort computes.

    Args:
        points: (n, d) places.
        n_neighbours: of a point, itself among them.

    Returns:
        (n, n) symmetric, nothing on the diagonal.
    """
    count = n_neighbours - 1
    found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points).kneighbors()
    distances, places = found[0].astype(np.float64), found[1]
    beyond = np.maximum(distances - _nearest(distances)[:, None], 0)
    widths = np.maximum(_widths(beyond, np.log2(n_neighbours)), _NARROWEST * _means(distances, n_neighbours))
    weights = np.exp(-beyond / widths[:, None])
    rows = np.repeat(np.arange(len(points)), count)
    one_way = sparse.csr_matrix((weights.ravel(), (rows, places.ravel())), shape=(len(points),) * 2)
    union = one_way + one_way.T - one_way.multiply(one_way.T)
    union.eliminate_zeros()
    return union.tocsr()


def _nearest(distances: FloatArray) -> FloatArray:
    """(n,) distance to the nearest point that lies elsewhere, 0 without one."""
    nearest = np.where(distances > 0, distances, np.inf).min(axis=1)
    return np.where(np.isfinite(nearest), nearest, 0.0)


def _widths(beyond: FloatArray, target: float) -> FloatArray:
    """(n,) widths at which the weights of a point's neighbours sum to the target, by bisection."""
    low, high, width = np.zeros(len(beyond)), np.full(len(beyond), np.inf), np.ones(len(beyond))
    open_ = np.ones(len(beyond), dtype=bool)
    for _ in range(_HALVINGS):
        total = np.exp(-beyond / width[:, None]).sum(axis=1)
        open_ &= np.abs(total - target) >= _CLOSE
        above = total > target
        high, low = np.where(open_ & above, width, high), np.where(open_ & ~above, width, low)
        further = np.where(np.isinf(high), 2 * width, (low + high) / 2)
        width = np.where(open_, further, width)
    return width


def _means(distances: FloatArray, n_neighbours: int) -> FloatArray:
    """(n,) mean distance of a point's neighbours, of all where every one of them lies on it; it counts itself."""
    own = distances.sum(axis=1) / n_neighbours
    return np.where(own > 0, own, own.mean())
