"""A gene prior from the training expression itself: what varies together lies in the same direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

WIDTH = 64
_CONSTANT = 1e-12  # variance below which a gene has no correlation


def coexpression_embedding(
    expression: Sequence[FloatArray], width: int = WIDTH
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Leading principal components of the gene-gene correlation of the training spots.

    Expression is centred within each slide, so that differences of depth between slides do not pass for co-expression,
    and pooled over slides. A gene's vector holds its loadings (eigenvector times root of the eigenvalue), scaled to
    length 1: the cosine of two vectors is the correlation of the two genes, up to the components left out. In each
    component the entry of largest magnitude is positive.

    Args:
        expression: per training slide (n_spots, G) expression on the task's scale.
        width: components kept; with fewer genes the rest is 0.

    Returns:
        (G, width) float32 embedding, and (G,) mask that is False (zero vector) for genes constant within every slide.
    """
    n_genes, n_spots = expression[0].shape[1], sum(len(slide) for slide in expression)
    covariance = sum((_scatter(slide) for slide in expression), np.zeros((n_genes, n_genes)))
    variance = np.diag(covariance) / n_spots
    varying = variance > _CONSTANT
    sd = np.sqrt(np.where(varying, np.diag(covariance), 1.0))
    correlation = np.where(np.outer(varying, varying), covariance / np.outer(sd, sd), 0.0)
    return _embed(correlation, width).astype(np.float32), varying


def _scatter(slide: FloatArray) -> NDArray[np.float64]:
    centred = np.asarray(slide, dtype=np.float64) - np.mean(slide, axis=0, dtype=np.float64)
    found: NDArray[np.float64] = centred.T @ centred
    return found


def _embed(correlation: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(correlation)
    kept = min(width, len(values))
    loadings = vectors[:, ::-1][:, :kept] * np.sqrt(np.clip(values[::-1][:kept], 0, None))
    strongest = np.take_along_axis(loadings, np.abs(loadings).argmax(axis=0)[None], axis=0)
    loadings = loadings * np.where(strongest < 0, -1.0, 1.0)
    lengths = np.linalg.norm(loadings, axis=1, keepdims=True)
    embedding = np.zeros((len(values), width))
    embedding[:, :kept] = loadings / np.where(lengths > 0, lengths, 1.0)
    return embedding
