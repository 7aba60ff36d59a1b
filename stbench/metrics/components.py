"""How much of a prediction is one map: its first principal component, and what that component knows by itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.metrics.accuracy import pcc
from stbench.metrics.score import CONSTANT, FloatArray, Score, centred, gene_blocks, held_pair

FLAT = "every gene is constant in the prediction"


def pc1_share(true: ArrayLike, pred: ArrayLike) -> Score:
    """Share of a prediction's variance in its first principal component, over the spots of one slide.

    ``s_1^2 / sum_k s_k^2`` with s the singular values of the prediction without its gene means. Range (0, 1], neither
    direction is better: 1 says that every gene is the same map, as the depth of the spots would be. Undefined for a
    constant prediction.

    Args:
        true: (n_spots, n_genes) expression, used for its shape alone.
        pred: (n_spots, n_genes), any scale.

    Returns:
        ``n_used`` counts genes that vary in the prediction.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    z = _varying(held_pair(true, pred)[1])
    n_used, n_undefined = _counts(z)
    if not n_used:
        return Score(None, 0, n_undefined, reason=FLAT)
    first = _first_component(z)
    explained, all_ = (float(np.square(part, out=part).sum()) for part in (first, z))
    return Score(min(explained / all_, 1.0), n_used, n_undefined)


def pc1_pcc(true: ArrayLike, pred: ArrayLike) -> Score:
    """:func:`stbench.metrics.pcc` of the first principal component of a prediction alone.

    The component is the best approximation of the prediction by one map with one weight per gene,
    ``s_1 u_1 v_1^T`` of its singular value decomposition without gene means. Range [-1, 1], higher is better; what PCC
    exceeds it by is known of single genes. Constant genes count as in PCC, and so do genes that the component does not
    touch.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.

    Returns:
        Mean over genes; ``per_gene`` holds the single correlations.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = held_pair(true, pred)
    z = _varying(prediction)
    first = _first_component(z)
    untouched = _largest(first) <= CONSTANT * _largest(z)  # a weight of rounding has any sign
    del z  # with many spots and genes what is held counts
    first[:, untouched] = 0.0
    return pcc(truth, first)


def _varying(prediction: NDArray[np.floating]) -> FloatArray:
    """(n_spots, n_genes) without gene means; genes that vary by rounding alone are 0."""
    z = np.empty(prediction.shape)
    for genes in gene_blocks(z.shape):
        found = centred(prediction[:, genes].astype(np.float64, copy=False))
        z[:, genes] = np.where(found.constant, 0.0, found.z)
    return z


def _largest(values: FloatArray) -> FloatArray:
    return np.maximum(values.max(axis=0), -values.min(axis=0))


def _counts(z: FloatArray) -> tuple[int, int]:
    varies = z.any(axis=0)
    return int(varies.sum()), int((~varies).sum())


def _first_component(z: FloatArray) -> FloatArray:
    """Best approximation of rank one, from the smaller of the two Gram matrices."""
    if z.shape[0] < z.shape[1]:
        return _first_component(z.T).T
    loadings = np.linalg.eigh(z.T @ z)[1][:, -1:]
    return np.asarray(z @ loadings @ loadings.T)
