"""Ceilings: what the noise in a slide's own counts allows any prediction of it.

:mod:`stbench.metrics.splitting` estimates them from halves of the counts, :mod:`stbench.metrics.serial` from a
neighbouring cut. Both say how far a slide agrees with another measurement of it; what follows from that is here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from stbench.data.normalize import normalize
from stbench.errors import DataError
from stbench.metrics.score import Centred, FloatArray, Score, as_matrix, centred, correlation
from stbench.metrics.structure import morans_i

MIN_MEAN = 0.5  # UMI per spot below which the agreement of one gene is mostly chance
CONSTANT_TRUTH = "every gene is constant in the truth"


@dataclass(frozen=True)
class Cut:
    """The counts of one slide over a panel.

    Args:
        counts: (n_spots, n_panel) raw UMI.
        total_counts: (n_spots,) UMI over all measured genes, those of the panel among them; None is refused.
        xy: (n_spots, 2) spot centres, in a unit that cuts share.

    Raises:
        DataError: no total counts, total counts below those of the panel, counts that are not whole numbers from 0,
            fewer than 3 spots, or shapes that do not fit.
    """

    counts: csr_matrix
    total_counts: ArrayLike | None
    xy: ArrayLike

    def __post_init__(self) -> None:
        n_spots, values = self.counts.shape[0], self.counts.data
        if n_spots < 3 or as_matrix(self.xy, "positions").shape != (n_spots, 2):
            raise DataError(f"expected at least 3 spots, each with x and y, found {n_spots} and {np.shape(self.xy)}")
        if values.size and (values.min() < 0 or (values != np.rint(values)).any()):
            raise DataError("expected raw counts (whole numbers from 0) for a ceiling, found others; pass UMI")
        if self.totals.shape != (n_spots,) or not np.isfinite(self.totals).all():
            raise DataError(
                f"expected finite total counts of {n_spots} spots, found {self.totals.shape}; see the slide"
            )
        if (short := self.totals < self.panel - 0.5).any():
            spot = int(short.argmax())
            raise DataError(
                f"expected total counts over all measured genes, found {self.totals[spot]:g} at spot {spot}, where the "
                f"panel alone has {self.panel[spot]:g}; see obs['total_counts']"
            )

    @property
    def panel(self) -> FloatArray:
        """(n_spots,) UMI over the panel."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.float64).ravel()

    @property
    def totals(self) -> FloatArray:
        """(n_spots,) UMI over all measured genes."""
        if self.total_counts is None:
            raise DataError(
                "expected total counts of every spot for a ceiling, found none; give the slide obs['total_counts'] "
                "(UMI over all measured genes)"
            )
        return np.asarray(self.total_counts, dtype=np.float64)

    @property
    def means(self) -> FloatArray:
        """(n_panel,) UMI per spot."""
        return np.asarray(self.counts.mean(axis=0), dtype=np.float64).ravel()

    def on(self, scale: str, times: int = 1) -> FloatArray:
        """(n_spots, n_panel) expression on a named scale, every count taken ``times``."""
        return normalize(self.counts * times, self.totals * times, scale).astype(np.float64)


@dataclass(frozen=True)
class Ceiling:
    """The best values to be had on one slide and scale.

    Args:
        pcc: correlation over spots of the slide with its noise-free mean, averaged over genes. Genes that are constant
            in the truth are left out and counted; ``per_gene`` is NaN for them and for genes below 0.5 UMI per spot.
        mse: squared error of the noise-free mean, averaged over genes, square of the scale; ``per_gene`` likewise.
        gsc: of an independent replicate of the slide, which a prediction without noise may exceed.
        ssc: of an independent replicate of the slide, which a prediction without noise may exceed.
        pcc_spearman_brown: ``pcc`` by the Spearman-Brown step on any scale; None where no step is taken.
    """

    pcc: Score
    mse: Score
    gsc: Score
    ssc: Score
    pcc_spearman_brown: Score | None = None


def pcc_ceiling(rho: FloatArray, cut: Cut, varies: NDArray[np.bool_], *, pool_all: bool = False) -> Score:
    """``sqrt(rho_g)`` averaged over genes, those with few counts taken together: ``sqrt(mean_g rho_g)``.

    Roots of single genes are cut off at 0 and so too low where ``rho`` is mostly noise.

    Args:
        rho: (n_panel,) correlation of the slide with a replicate of its depth.
        cut: the slide.
        varies: (n_panel,) whether the gene varies in the truth; others are left out.
        pool_all: take all genes together, whatever their counts.
    """
    roots, low = np.sqrt(np.clip(rho, 0, 1)), cut.means < MIN_MEAN
    per_gene = np.where(varies & ~low, roots, np.nan)
    n_used = int(varies.sum())
    if not n_used:
        return Score(None, 0, len(rho), per_gene, CONSTANT_TRUTH)
    pooled = varies if pool_all else varies & low
    shared = np.sqrt(np.clip(rho[pooled].mean(), 0, 1)) if pooled.any() else 0.0
    value = (roots[varies & ~pooled].sum() + pooled.sum() * shared) / n_used
    return Score(float(value), n_used, len(rho) - n_used, per_gene)


def mse_floor(rho: FloatArray, cut: Cut, truth: Centred) -> Score:
    """``Var(y_g) (1 - rho_g)`` averaged over genes, constant ones with 0.

    Args:
        rho: (n_panel,) correlation of the slide with a replicate of its depth.
        cut: the slide.
        truth: its expression.
    """
    floor = truth.sum_squares / len(truth.z) * np.where(truth.constant, 0.0, 1 - rho)
    stated = ~truth.constant & (cut.means >= MIN_MEAN)
    return Score(float(floor.mean()), len(rho), 0, np.where(stated, np.maximum(floor, 0), np.nan))


def structure_ceiling(value: float, truth: Centred) -> Score:
    """GSC or SSC of a replicate as a score, undefined where it could not be computed."""
    n_used = int((~truth.constant).sum())
    reason = "fewer than 3 genes vary in both measurements, or no spot has a neighbour" if np.isnan(value) else ""
    return Score(None if reason else value, n_used, len(truth.constant) - n_used, reason=reason)


def gene_correlation(truth: Centred, other: FloatArray) -> FloatArray:
    """(n_panel,) correlation of every gene with its values at the same spots in another measurement.

    0 where either does not vary: a half without a count says nothing of the other.
    """
    return np.nan_to_num(correlation(truth, centred(other)))


def structure_agreement(
    first: FloatArray, second: FloatArray, graphs: tuple[csr_matrix, csr_matrix]
) -> tuple[float, float]:
    """GSC and SSC of two measurements, which need not have the same spots.

    Args:
        first: (n_spots, n_panel) expression.
        second: (other n_spots, n_panel), same scale.
        graphs: spatial weights between the spots of either.

    Returns:
        Correlation over gene pairs of the gene-gene correlations, and over genes of Moran's I; NaN where fewer than 3
        genes vary in both.
    """
    moran = [morans_i(values, graph) for values, graph in zip((first, second), graphs, strict=True)]
    used = ~(centred(first).constant | centred(second).constant)
    if used.sum() < 3:
        return np.nan, np.nan
    return _match(_pairs(first[:, used]), _pairs(second[:, used])), _match(moran[0][used], moran[1][used])


def _pairs(values: FloatArray) -> FloatArray:
    correlations = np.asarray(np.corrcoef(values, rowvar=False))
    return np.asarray(correlations[np.triu_indices(len(correlations), 1)])


def _match(first: FloatArray, second: FloatArray) -> float:
    if np.isnan(first).any() or np.isnan(second).any():
        return np.nan
    return float(correlation(centred(first[:, None]), centred(second[:, None]))[0])
