"""The best possible prediction of a simulated slide, from the distribution its counts were drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stbench.data.normalize import check_normalization
from stbench.data.slide import Slide
from stbench.errors import DataError, UnknownNameError

FloatArray = NDArray[np.float64]

EXPECTED, VISIBLE = "expected", "expected_visible"  # layers: expected UMI
DISPERSION, INVISIBLE_SD = "dispersion", "invisible_sd"  # var
EXPECTED_TOTAL, VISIBLE_TOTAL = "expected_total", "expected_visible_total"  # obs: expected UMI over all genes
TRUTH, DEPTH_SD = "simulated", "depth_sd"  # uns[TRUTH][DEPTH_SD]

_NODES, _NODES_TWICE = 9, 5  # of the Gauss-Hermite rule, for one and for two normal variables
_CHUNK = 4096  # entries at a time
_N_TERMS = 64  # counts up to here are summed one by one
_N_POINTS = 160  # for all counts above
_TAIL_SD = 14.0


@dataclass(frozen=True)
class BestPossible:
    """Posterior means no predictor can beat in squared error.

    Args:
        full: (n_spots, n_genes) float32, for somebody who knows everything but the noise of counting.
        visible: (n_spots, n_genes) float32, for somebody who reads the image, and the patient, without error.
    """

    full: NDArray[np.float32]
    visible: NDArray[np.float32]


def best_possible(slide: Slide, genes: Sequence[str], normalisation: str = "log1p") -> BestPossible:
    """Expected expression given the truth, and given what the image can show.

    ``E[g(k)]`` is summed over the negative binomial; for ``visible`` also over the invisible factor and the
    unexplained depth, which are normal on the log scale (Gauss-Hermite). For ``cp10k-log1p`` the spot's total is
    taken at its expectation.

    Args:
        slide: a slide of a simulated cohort.
        genes: panel, in the order of the result.
        normalisation: name of a scale of :mod:`stbench.data.normalize`.

    Returns:
        Both predictions on that scale.

    Raises:
        DataError: the slide has no simulated truth.
        UnknownNameError: a gene the slide does not have, or an unknown scale.
    """
    check_normalization(normalisation)
    adata = slide.adata
    if EXPECTED not in adata.layers or TRUTH not in adata.uns:
        raise DataError(f"slide {slide.id}: expected the truth of a simulation in layers[{EXPECTED!r}], found none")
    missing = sorted(set(genes) - set(slide.genes))
    if missing:
        raise UnknownNameError(f"gene of slide {slide.id}", missing[0], slide.genes[:20])
    columns = [slide.genes.index(gene) for gene in genes]
    full, visible = (np.asarray(adata.layers[name][:, columns], dtype=np.float64) for name in (EXPECTED, VISIBLE))
    theta = np.asarray(adata.var[DISPERSION], dtype=np.float64)[columns]
    hidden = np.asarray(adata.var[INVISIBLE_SD], dtype=np.float64)[columns]
    depth_sd = float(adata.uns[TRUTH][DEPTH_SD])
    if normalisation == "cp10k-log1p":
        totals = [np.asarray(adata.obs[name], dtype=np.float64) for name in (EXPECTED_TOTAL, VISIBLE_TOTAL)]
        best = _per_10k(full, totals[0], theta), _per_10k_unknown(visible, totals[1], theta, hidden, depth_sd)
    else:
        unit = np.log(2) if normalisation == "log2p1" else 1.0
        one = np.ones(slide.n_spots)
        spread = np.sqrt(hidden**2 + depth_sd**2)
        best = expected_log1p(full, theta, one) / unit, _over_normal(visible, theta, one, spread) / unit
    return BestPossible(*(values.astype(np.float32) for values in best))


def expected_log1p(mean: FloatArray, theta: FloatArray, scale: FloatArray) -> FloatArray:
    """``E[log(1 + scale k)]`` for negative binomial counts k, summed over the distribution.

    Args:
        mean: (n_spots, n_genes) expected UMI.
        theta: (n_genes,) dispersion, variance ``mean + mean^2 / theta``, at most 100.
        scale: (n_spots,) factor of the counts.

    Returns:
        (n_spots, n_genes), natural log.
    """
    means = mean.ravel()
    thetas = np.broadcast_to(theta, mean.shape).ravel()
    scales = np.broadcast_to(scale[:, None], mean.shape).ravel()
    result = np.empty_like(means)
    for start in range(0, len(means), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = _first_terms(means[part], thetas[part], scales[part])
    large = np.flatnonzero(_last_term(means, thetas) > _N_TERMS)
    for start in range(0, len(large), _CHUNK):
        some = large[start : start + _CHUNK]
        result[some] += _later_terms(means[some], thetas[some], scales[some])
    return result.reshape(mean.shape)


def _last_term(mean: FloatArray, theta: FloatArray) -> FloatArray:
    return np.asarray(mean + _TAIL_SD * np.sqrt(mean + mean**2 / theta) + 20)


def _first_terms(mean: FloatArray, theta: FloatArray, scale: FloatArray) -> FloatArray:
    odds = mean / (mean + theta)
    probability = np.exp(-theta * np.log1p(mean / theta))
    total = np.zeros_like(mean)
    for k in range(_N_TERMS):
        probability *= (k + theta) / (k + 1) * odds
        total += probability * np.log1p(scale * (k + 1))
    return total


def _later_terms(mean: FloatArray, theta: FloatArray, scale: FloatArray) -> FloatArray:
    """The rest of the sum as an integral over ``log k``: large counts change little from one term to the next."""
    from scipy.special import gammaln

    first = np.log(_N_TERMS + 0.5)
    step = (np.log(_last_term(mean, theta)) - first) / _N_POINTS
    k = np.exp(first + step[:, None] * (np.arange(_N_POINTS) + 0.5))
    mean, theta, scale = mean[:, None], theta[:, None], scale[:, None]
    log_probability = gammaln(k + theta) - gammaln(theta) - gammaln(k + 1)
    log_probability += k * np.log(mean / (mean + theta)) - theta * np.log1p(mean / theta)
    return np.asarray((np.exp(log_probability) * k * np.log1p(scale * k)).sum(axis=1) * step)


def _over_normal(
    mean: FloatArray, theta: FloatArray, scale: FloatArray, sd: FloatArray, nodes: int = _NODES
) -> FloatArray:
    """Average over a normal change of the log mean with standard deviation ``sd`` per gene and expectation 1."""
    total = np.zeros_like(mean)
    for node, weight in _normal_rule(nodes):
        total += weight * expected_log1p(mean * np.exp(sd * node - 0.5 * sd**2), theta, scale)
    return total


def _per_10k(mean: FloatArray, total: FloatArray, theta: FloatArray) -> FloatArray:
    return expected_log1p(mean, theta, 1e4 / total)


def _per_10k_unknown(
    mean: FloatArray, total: FloatArray, theta: FloatArray, hidden: FloatArray, depth_sd: float
) -> FloatArray:
    """Depth cancels from the scale but still sets the noise, so it is averaged apart from the invisible factor."""
    result = np.zeros_like(mean)
    for node, weight in _normal_rule(_NODES_TWICE):
        depth = np.exp(depth_sd * node - 0.5 * depth_sd**2)
        result += weight * _over_normal(mean * depth, theta, 1e4 / (total * depth), hidden, _NODES_TWICE)
    return result


def _normal_rule(n_nodes: int) -> list[tuple[float, float]]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    return list(zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True))
