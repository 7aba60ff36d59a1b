"""Scales of expression. Every scale maps zero counts to zero, so spots without any counts survive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.errors import UnknownNameError

FloatArray = NDArray[np.float32]

_SCALES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "log1p": lambda counts, depth: np.log1p(counts),
    "log2p1": lambda counts, depth: np.log2(1 + counts),
    "cp10k-log1p": lambda counts, depth: np.log1p(1e4 * counts / np.maximum(depth, 1)[:, None]),
}
DEPTH_NORMALISED = frozenset({"cp10k-log1p"})
"""Scales on which the depth of a spot is divided out."""
DESCRIPTIONS = {
    "log1p": "natural log of 1 + raw counts",
    "log2p1": "log2 of 1 + raw counts",
    "cp10k-log1p": "natural log of 1 + counts per 10,000 of the spot's total over all measured genes",
}


def check_normalization(kind: str) -> None:
    """Raise UnknownNameError for a scale that does not exist."""
    if kind not in _SCALES:
        raise UnknownNameError("normalization", kind, _SCALES)


def normalize(counts: csr_matrix, total_counts: NDArray[np.float64], kind: str = "log1p") -> FloatArray:
    """Counts on a named scale.

    Args:
        counts: (n_spots, n_panel) raw UMI.
        total_counts: (n_spots,) UMI over all measured genes; used by depth-normalised scales.
        kind: ``log1p`` (the paper's), ``log2p1`` (released code; MSE is 2.0814 times larger) or ``cp10k-log1p``.

    Returns:
        (n_spots, n_panel) float32.

    Raises:
        UnknownNameError: no such scale.
    """
    check_normalization(kind)
    return _SCALES[kind](counts.toarray().astype(np.float64), total_counts).astype(np.float32)
