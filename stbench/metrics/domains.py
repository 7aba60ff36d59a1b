"""Spatial domains: do clusters of predicted expression agree with the domains that an expert drew?"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from stbench.errors import DataError
from stbench.metrics.score import Content, FloatArray, Score, as_matrix, as_pair, centred
from stbench.metrics.summary import STEADY

N_COMPONENTS = 20
STARTS = 10  # of k-means; the best is taken
MOST_DOMAINS = 50  # more are no domains: a column of numbers has one per spot
_DIGITS = 6  # of a component's largest value: what rounding moves does not reorder spots

Codes = NDArray[np.int64]


class Labelled(NamedTuple):
    """The spots of a slide that have a domain.

    Args:
        true: (n_labelled, n_genes) expression.
        pred: (n_labelled, n_genes) predicted.
        codes: (n_labelled,) domain of each spot, from 0.
        reason: why no domains can be compared, empty where they can.
    """

    true: FloatArray
    pred: FloatArray
    codes: Codes
    reason: str

    @property
    def n_domains(self) -> int:
        """Number of domains."""
        return int(self.codes.max(initial=-1)) + 1


def domain_ari(true: ArrayLike, pred: ArrayLike, domains: ArrayLike) -> Score:
    """Adjusted Rand index (Hubert and Arabie, 1985) of the clusters of a prediction and the domains of a slide.

    Clusters are those of k-means on the first 20 principal components, as many as there are domains, the best of 10
    starts, over spots that have a domain. Range [-0.5, 1], higher is better, 0 is chance. It is no measure of detail:
    smoothing a slide raises it. Undefined below 2 and above 50 domains, below 21 spots that have one, where the
    prediction does not vary over them, and where two clusterings of the truth, from two seeds, agree below 0.8.

    Args:
        true: (n_spots, n_genes) expression, any scale; only whether its own clusters are steady is asked of it.
        pred: (n_spots, n_genes), same scale.
        domains: (n_spots,) names, empty where a spot has none; those spots are left out.

    Returns:
        ``n_used`` counts spots.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    return _agreement(adjusted_rand_score, true, pred, domains)


def domain_nmi(true: ArrayLike, pred: ArrayLike, domains: ArrayLike) -> Score:
    """Normalised mutual information, with the arithmetic mean of entropies, of the clusters of :func:`domain_ari`.

    Range [0, 1], higher is better; chance is above 0 and grows with the number of domains. Undefined as the ARI is.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), same scale.
        domains: (n_spots,) names, empty where a spot has none; those spots are left out.

    Returns:
        ``n_used`` counts spots.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    return _agreement(normalized_mutual_info_score, true, pred, domains)


def domain_self_ari(true: ArrayLike, pred: ArrayLike, domains: ArrayLike) -> Score:
    """:func:`self_agreement` of a slide, the same for every method; undefined where there are no domains to compare.

    Args:
        true: (n_spots, n_genes) expression, any scale.
        pred: (n_spots, n_genes), used for its shape alone.
        domains: (n_spots,) names, empty where a spot has none; those spots are left out.

    Returns:
        ``n_used`` counts spots.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, _ = as_pair(true, pred)
    at = labelled(truth, truth, domains)
    return Score(None if at.reason else self_agreement(at.true, at.n_domains), len(at.codes), reason=at.reason)


def self_agreement(true: ArrayLike, n_domains: int) -> float:
    """ARI of two clusterings of the measured expression that differ in their seed alone.

    Args:
        true: (n_spots, n_genes) expression, any scale, of spots that have a domain.
        n_domains: number of clusters.
    """
    first, second = (cluster(true, n_domains, seed) for seed in (0, 1))
    return float(adjusted_rand_score(first, second))


def cluster(values: ArrayLike, k: int, seed: int = 0) -> Codes:
    """k-means on the first 20 principal components, the best of 10 starts.

    One seed gives one answer, whatever the number of threads and the order of spots and genes.

    Args:
        values: (n_spots, n_genes) expression, any scale, or positions.
        k: number of clusters; fewer where fewer spots differ.
        seed: of the starts.

    Returns:
        (n_spots,) cluster of each spot.
    """
    matrix = as_matrix(values, "expression")
    return _cluster(Content(matrix), k, seed).copy()


def matched(codes: Codes, clusters: Codes) -> Codes:
    """(n_spots,) clusters called after domains, one to one, so that as many spots as can be have that of their domain.

    Args:
        codes: (n_spots,) domain of each spot, from 0.
        clusters: (n_spots,) cluster of each spot, from 0, no more than there are domains.
    """
    k = int(max(codes.max(), clusters.max())) + 1
    shared = np.zeros((k, k), dtype=np.int64)
    np.add.at(shared, (clusters, codes), 1)
    _, names = linear_sum_assignment(shared, maximize=True)
    return np.asarray(names, dtype=np.int64)[clusters]


def labelled(true: ArrayLike, pred: ArrayLike, domains: ArrayLike) -> Labelled:
    """Truth and prediction at the spots that have a domain.

    Raises:
        DataError: shapes differ or a value is not finite.
    """
    truth, prediction = as_pair(true, pred)
    names = np.asarray(domains).astype(str)
    if names.shape != (len(truth),):
        raise DataError(f"expected domains of {len(truth)} spots as in the truth, found shape {names.shape}")
    has = names != ""
    found, codes = np.unique(names[has], return_inverse=True)
    truth, prediction = truth[has], prediction[has]
    return Labelled(truth, prediction, codes, _unusable(prediction, len(found)))


def _unusable(prediction: FloatArray, n_domains: int) -> str:
    if not 2 <= n_domains <= MOST_DOMAINS:
        return f"expected 2 to {MOST_DOMAINS} domains, found {n_domains}"
    if len(prediction) <= N_COMPONENTS:
        return f"expected more than {N_COMPONENTS} spots with a domain, found {len(prediction)}"
    return "the prediction does not vary over spots with a domain" if centred(prediction).constant.all() else ""


def unsteady(true: FloatArray, n_domains: int) -> str:
    """Why clusters of a slide rank nothing, as its truth says; empty where they do."""
    agreement = self_agreement(true, n_domains)
    if agreement >= STEADY:
        return ""
    return f"two clusterings of the measured expression agree to an ARI of {agreement:.2f}, {STEADY:g} is needed"


def _agreement(measure: Callable[[Codes, Codes], float], true: ArrayLike, pred: ArrayLike, domains: ArrayLike) -> Score:
    at = labelled(true, pred, domains)
    if reason := at.reason or unsteady(at.true, at.n_domains):
        return Score(None, len(at.codes), reason=reason)
    return Score(float(measure(at.codes, cluster(at.pred, at.n_domains))), len(at.codes))


def _components(values: FloatArray) -> FloatArray:
    """(n_spots, at most 20) principal components, each turned so that its long tail is positive."""
    found = centred(values)
    z = np.where(found.constant, 0.0, found.z)
    n_spots, n_genes = z.shape
    solver = "covariance_eigh" if n_spots >= n_genes else "full"
    points = PCA(min(N_COMPONENTS, n_spots, n_genes), svd_solver=solver).fit_transform(z)
    return np.where((points**3).sum(axis=0) < 0, -points, points)


def _rounded(points: FloatArray) -> FloatArray:
    return np.round(points / max(float(np.abs(points).max(initial=0)), np.finfo(float).tiny), _DIGITS)


@lru_cache(maxsize=4)  # ARI and NMI ask for the same clusters, and every draw for those of the truth
def _cluster(values: Content, k: int, seed: int) -> Codes:
    with threadpool_limits(1):
        points = _components(values.take())
        rounded = _rounded(points)
        distinct, alone = np.unique(rounded, axis=0, return_inverse=True)
        if len(distinct) <= k:
            return np.asarray(alone.ravel(), dtype=np.int64)
        order = np.lexsort(rounded.T[::-1])
        codes = np.empty(len(points), dtype=np.int64)
        codes[order] = KMeans(k, n_init=STARTS, random_state=seed).fit_predict(points[order])
        return codes
