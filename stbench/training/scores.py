"""Scores that choose a stopping point; the metrics that are reported live one floor up."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def mean_gene_correlation(true: NDArray[np.float32], predicted: NDArray[np.float32]) -> float:
    """Mean over genes of the Pearson correlation over spots, genes constant on either side left out; 0 if all are.

    Args:
        true: (n_spots, n_genes) expression.
        predicted: (n_spots, n_genes), same scale.
    """
    a = true - true.mean(axis=0, dtype=np.float64)
    b = predicted - predicted.mean(axis=0, dtype=np.float64)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    used = scale > 0
    return float(((a * b).sum(axis=0)[used] / scale[used]).mean()) if used.any() else 0.0


def mean_slide_correlation(pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> float:
    """Mean over slides of :func:`mean_gene_correlation`.

    Args:
        pairs: true and predicted (n_spots, n_genes) expression of each slide, one scale.
    """
    return float(np.mean([mean_gene_correlation(true, predicted) for true, predicted in pairs]))
