"""Ceilings by count splitting: how far do two halves of a slide's counts agree?

Halves made by binomial thinning (Neufeld et al., Biostatistics 25, 270, 2024) share the expression and nothing of the
noise; the step to full depth is that of Spearman and Brown (1910), or calibrated by a second thinning. Thinning sees
Poisson noise only: where counting is noisier than that, the ceilings are upper bounds.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import logit

from stbench.data.normalize import DEPTH_NORMALISED, check_normalization
from stbench.errors import SettingError
from stbench.metrics.ceiling import (
    Ceiling,
    Cut,
    gene_correlation,
    mse_floor,
    pcc_ceiling,
    structure_agreement,
    structure_ceiling,
)
from stbench.metrics.score import FloatArray, centred
from stbench.metrics.structure import spatial_weights

SPLITS = 10  # PCC, MSE and GSC are steady from 5, SSC of slides under 200 spots is not
MAX_STEP = 1.2
MIN_PCC_STEP = 0.3
SPEARMAN_BROWN = 1.0
ROUNDING = 1e-9


class Agreement(NamedTuple):
    """How far two measurements of the same spots agree: (n_panel,) r of the genes, GSC and SSC."""

    r: FloatArray
    gsc: float
    ssc: float


def count_split(cut: Cut, scale: str, *, splits: int = SPLITS, seed: int = 0) -> Ceiling:
    """Ceilings of one slide from random binomial halves of its counts.

    Let ``r`` be the agreement of two halves and ``q`` that of two quarters, averaged over splits; all are multiplied
    back to the counts of the slide, so that the logarithm bends where it does at full depth. A slide and a replicate of
    it agree by ``rho``, ``logit rho = logit r + s ln 2``. For PCC, MSE and GSC on scales that keep the depth ``s = 1``,
    which is Spearman-Brown; on depth-normalised scales, and for SSC on all, ``s = (logit r - logit q) / ln 2``, for PCC
    and MSE of the means over genes, within 0.3 and 1.2, for GSC and SSC within 0 and 1.2. The correlation of the slide
    with its own noise-free mean is ``sqrt(rho)``; genes below 0.5 UMI per spot share one.

    Args:
        cut: the slide.
        scale: of expression, see :func:`stbench.data.normalize.normalize`.
        splits: random halves to average over.
        seed: of the halves, see :func:`seed_of`.

    Raises:
        UnknownNameError: no such scale.
        SettingError: fewer than one split.
    """
    if splits < 1:
        raise SettingError(f"expected at least 1 split of the counts, found {splits}")
    check_normalization(scale)
    truth = centred(cut.on(scale))
    varies = ~truth.constant
    half, quarter = _agreements(cut, scale, splits, np.random.default_rng(seed))
    rho = lengthen(half.r, _step(_mean(half.r, varies), _mean(quarter.r, varies), MIN_PCC_STEP, scale))
    gsc = lengthen(half.gsc, _step(half.gsc, quarter.gsc, 0.0, scale))
    ssc = lengthen(half.ssc, calibrated(half.ssc, quarter.ssc, 0.0))
    return Ceiling(
        pcc=pcc_ceiling(rho, cut, varies),
        mse=mse_floor(rho, cut, truth),
        gsc=structure_ceiling(float(gsc), truth),
        ssc=structure_ceiling(float(ssc), truth),
        pcc_spearman_brown=pcc_ceiling(lengthen(half.r, SPEARMAN_BROWN), cut, varies),
    )


def seed_of(slide_id: str) -> int:
    """The seed that goes with a slide: its ceiling does not depend on the slides beside it."""
    return int.from_bytes(hashlib.sha256(slide_id.encode()).digest()[:8], "big")


def thin(cut: Cut, generator: np.random.Generator) -> tuple[Cut, Cut]:
    """Two halves of a slide: every UMI, of the panel or not, falls into either with probability 1/2."""
    counts, panel = csr_matrix(cut.counts), cut.panel
    outside = np.maximum(np.rint(cut.totals) - panel, 0).astype(np.int64)
    first = counts.copy()
    first.data = generator.binomial(counts.data.astype(np.int64), 0.5).astype(counts.dtype)
    totals = np.asarray(first.sum(axis=1), dtype=np.float64).ravel() + generator.binomial(outside, 0.5)
    return Cut(first, totals, cut.xy), Cut(counts - first, panel + outside - totals, cut.xy)


def lengthen(agreement: FloatArray | float, step: float) -> FloatArray:
    """``rho`` with ``logit rho = logit agreement + step ln 2``, continued below 0; Spearman-Brown at step 1."""
    times = 2.0**step
    return np.asarray(times * agreement / (1 + (times - 1) * agreement))


def calibrated(half: float, quarter: float, lowest: float) -> float:
    """The step from quarters to halves on the logit scale, which that from halves to the whole is taken to equal."""
    inner = np.clip([half, quarter], ROUNDING, 1 - ROUNDING)
    return float(np.clip(np.diff(logit(inner))[0] / -np.log(2), lowest, MAX_STEP))


def _step(half: float, quarter: float, lowest: float, scale: str) -> float:
    """Halves are parallel measurements as long as the scale keeps the depth, else low counts saturate at 0."""
    return calibrated(half, quarter, lowest) if scale in DEPTH_NORMALISED else SPEARMAN_BROWN


def _agreements(cut: Cut, scale: str, splits: int, generator: np.random.Generator) -> tuple[Agreement, Agreement]:
    """Of halves and of quarters, each the mean over splits."""
    graph = spatial_weights(cut.xy)
    found: tuple[list[Agreement], list[Agreement]] = ([], [])
    for _ in range(splits):
        first, second = thin(cut, generator)
        found[0].append(_agreement(first.on(scale, 2), second.on(scale, 2), graph))
        first, second = (thin(half, generator)[0] for half in (first, second))
        found[1].append(_agreement(first.on(scale, 4), second.on(scale, 4), graph))
    half, quarter = (Agreement(*(np.mean(each, axis=0) for each in zip(*one, strict=True))) for one in found)
    return half, quarter


def _agreement(first: FloatArray, second: FloatArray, graph: csr_matrix) -> Agreement:
    return Agreement(gene_correlation(centred(first), second), *structure_agreement(first, second, (graph, graph)))


def _mean(r: FloatArray, varies: NDArray[np.bool_]) -> float:
    return float(r[varies].sum() / max(varies.sum(), 1))
