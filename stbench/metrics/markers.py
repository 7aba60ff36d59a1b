"""Marker genes: are the genes that set a domain apart those of the truth?"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control, norm, rankdata

from stbench.data.normalize import DEPTH_NORMALISED
from stbench.metrics.domains import Codes, labelled
from stbench.metrics.score import Content, FloatArray, Score, as_pair, centred

FALSE_DISCOVERIES = 0.05
_DEP = "cp10k-log1p"


def marker_overlap(
    true: ArrayLike,
    pred: ArrayLike,
    domains: ArrayLike,
    scale: str = _DEP,
    k: int = 20,
    *,
    above_chance: bool = False,
) -> Score:
    """Share of the k strongest markers of a domain that a prediction names too, mean over domains.

    Genes are ranked by the z of a rank-sum test, with tie correction, of the domain against the other labelled spots,
    up-regulated ones first, ties by gene order. A domain counts if at least k genes are up-regulated in the truth at a
    false discovery rate of 5 % (Benjamini-Hochberg). Range [0, 1], higher is better, chance is k / n_genes: panels of
    different size cannot be compared. A gene that the prediction leaves constant is no marker. Undefined below 2 and
    above 50 domains, below 21 spots that have one, where no domain counts, for panels of k genes or fewer, for a
    constant prediction, and on scales that keep the depth of spots, where a deep domain has every gene as a marker.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), same scale.
        domains: (n_spots,) names, empty where a spot has none; those spots are left out.
        scale: name of the scale, see :func:`stbench.data.normalize.normalize`.
        k: markers per domain.
        above_chance: less k / n_genes.

    Returns:
        ``n_used`` counts domains.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    found = _markers(true, pred, domains, scale, k)
    if found.reason:
        return Score(None, int(found.counts.sum()), reason=found.reason)
    chance = k / found.true.shape[1] if above_chance else 0.0
    return Score(float(found.overlap(k).mean()) - chance, int(found.counts.sum()))


def marker_domains(true: ArrayLike, pred: ArrayLike, domains: ArrayLike, scale: str = _DEP, k: int = 20) -> Score:
    """Number of domains that :func:`marker_overlap` averages over; a property of the slide, the same for every method.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), used for its shape alone.
        domains: (n_spots,) names, empty where a spot has none; those spots are left out.
        scale: name of the scale.
        k: markers per domain.

    Returns:
        ``n_used`` counts the domains of the slide.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, _ = as_pair(true, pred)
    found = _markers(truth, truth, domains, scale, k)
    n_domains = len(found.counts)
    return Score(float(found.counts.sum()) if n_domains else None, n_domains, reason="" if n_domains else found.reason)


def rank_sum_z(values: FloatArray, codes: Codes) -> FloatArray:
    """z of the rank-sum test with tie correction, of each domain against the rest.

    ``z = (R - n_1 (n + 1) / 2) / sqrt(n_1 n_2 / (n (n - 1)) sum_i (r_i - rbar)^2)``, R the sum of the domain's ranks.

    Args:
        values: (n_spots, n_genes) expression.
        codes: (n_spots,) domain of each spot, from 0.

    Returns:
        (n_domains, n_genes), positive where the domain has more; NaN for constant genes.
    """
    return _rank_sum_z(Content(values), codes.tobytes()).copy()


@lru_cache(maxsize=2)  # of the truth and of one prediction, which several metrics ask for
def _rank_sum_z(content: Content, domains: bytes) -> FloatArray:
    values, codes = content.take(), np.frombuffer(domains, dtype=np.int64)
    n = len(codes)
    deviations = rankdata(values, axis=0) - (n + 1) / 2  # halves and whole numbers: sums are exact in any order
    member = codes == np.arange(codes.max() + 1)[:, None]
    n_in = member.sum(axis=1, keepdims=True)
    variance = n_in * (n - n_in) / (n * (n - 1)) * np.square(deviations).sum(axis=0)
    z = (member.astype(float) @ deviations) / np.sqrt(np.where(variance > 0, variance, 1.0))
    return np.where(variance > 0, z, np.nan)


class _Markers(NamedTuple):
    """(n_domains, n_genes) z of truth and prediction, (n_domains,) which domains count, and why none can be scored."""

    true: FloatArray
    pred: FloatArray
    counts: NDArray[np.bool_]
    reason: str

    def overlap(self, k: int) -> FloatArray:
        """(n_counted,) shared markers of each domain."""
        return (_top(self.true[self.counts], k) & _top(self.pred[self.counts], k)).sum(axis=1) / k


def _markers(true: ArrayLike, pred: ArrayLike, domains: ArrayLike, scale: str, k: int) -> _Markers:
    at = labelled(true, pred, domains)
    none = np.empty((0, at.true.shape[1]))
    if reason := at.reason or _unfit(scale, k, at.true.shape[1]):
        return _Markers(none, none, np.zeros(0, dtype=bool), reason)
    truth = rank_sum_z(at.true, at.codes)
    counts = _up_regulated(truth).sum(axis=1) >= k
    reason = "" if counts.any() else f"no domain has {k} up-regulated genes in the truth"
    return _Markers(truth, _flat_left_out(at.pred, rank_sum_z(at.pred, at.codes)), counts, reason)


def _unfit(scale: str, k: int, n_genes: int) -> str:
    if scale not in DEPTH_NORMALISED:
        return f"markers are ranked where depth is divided out ({', '.join(sorted(DEPTH_NORMALISED))}), not on {scale}"
    return f"expected a panel of more than {k} genes, found {n_genes}" if n_genes <= k else ""


def _flat_left_out(values: FloatArray, z: FloatArray) -> FloatArray:
    """A gene that varies by rounding alone is constant."""
    return np.where(centred(values).constant, np.nan, z)


def _up_regulated(z: FloatArray) -> NDArray[np.bool_]:
    p = np.where(np.isnan(z), 1.0, 2 * norm.sf(np.abs(np.nan_to_num(z))))
    return np.asarray((false_discovery_control(p, axis=1) < FALSE_DISCOVERIES) & (z > 0))


def _top(z: FloatArray, k: int) -> NDArray[np.bool_]:
    """(n_domains, n_genes) whether a gene is among the k with the highest z; constant ones never are."""
    last = np.where(np.isnan(z), -np.inf, z)
    top = np.zeros(z.shape, dtype=bool)
    np.put_along_axis(top, np.argsort(-last, axis=1, kind="stable")[:, :k], True, axis=1)
    return top & ~np.isnan(z)
