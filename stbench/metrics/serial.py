"""Ceilings from serial sections: how far does a slide agree with a neighbouring cut of the same block?

The bound from the other side: matching of spots is imperfect and tissue differs between cuts, so that a better
prediction is possible, while a ceiling by count splitting may be too high.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.errors import DataError
from stbench.metrics.ceiling import (
    Ceiling,
    Cut,
    gene_correlation,
    mse_floor,
    pcc_ceiling,
    structure_agreement,
    structure_ceiling,
)
from stbench.metrics.score import Centred, FloatArray, centred
from stbench.metrics.structure import spatial_weights

SHIFTS = np.arange(-3, 3.25, 0.5)  # pitches


def serial_sections(cut: Cut, neighbours: Sequence[Cut], scale: str) -> Ceiling:
    """Ceilings of one slide from neighbouring cuts, averaged over them.

    Every spot is matched with the nearest of the neighbour, after the shift (up to 3 pitches along either axis, in
    steps of half a pitch) that gives the highest correlation ``r``, mean over genes. ``PCC = sqrt(mean_g r_g)``, all
    genes taken together, and ``MSE = mean_g Var(y_g) (1 - r_g)`` are what the position of a spot allows; GSC and SSC
    compare gene-gene correlations and Moran's I of the cuts and need no matching.

    Args:
        cut: the slide.
        neighbours: its neighbours, with the same panel and positions in the same unit.
        scale: of expression, see :func:`stbench.data.normalize.normalize`.

    Raises:
        UnknownNameError: no such scale.
        DataError: no neighbour, or another number of genes.
    """
    n_genes = cut.counts.shape[1]
    if not neighbours or any(other.counts.shape[1] != n_genes for other in neighbours):
        found = [other.counts.shape[1] for other in neighbours]
        raise DataError(f"expected neighbouring cuts with {n_genes} genes as the slide, found {found or 'none'}")
    expression, graph = cut.on(scale), spatial_weights(cut.xy)
    truth = centred(expression)
    rho, structure = [], []
    for other in neighbours:
        replicate = other.on(scale)
        rho.append(_best_shift(truth, replicate, np.asarray(cut.xy), np.asarray(other.xy)))
        structure.append(structure_agreement(expression, replicate, (graph, spatial_weights(other.xy))))
    gsc, ssc = np.mean(structure, axis=0)
    mean = np.mean(rho, axis=0)
    return Ceiling(
        pcc=pcc_ceiling(mean, cut, ~truth.constant, pool_all=True),
        mse=mse_floor(mean, cut, truth),
        gsc=structure_ceiling(float(gsc), truth),
        ssc=structure_ceiling(float(ssc), truth),
    )


def _best_shift(
    truth: Centred, replicate: FloatArray, xy: NDArray[np.floating], other_xy: NDArray[np.floating]
) -> FloatArray:
    """(n_panel,) correlations after the shift with the highest mean."""
    tree = cKDTree(other_xy)
    shifts = _pitch(xy) * np.array(list(product(SHIFTS, SHIFTS)))
    each = (gene_correlation(truth, replicate[tree.query(xy + shift)[1]]) for shift in shifts)
    return max(each, key=np.mean)


def _pitch(xy: NDArray[np.floating]) -> float:
    distance = np.asarray(cKDTree(xy).query(xy, k=np.arange(2, min(5, len(xy)) + 1))[0])
    return float(np.median(distance))
