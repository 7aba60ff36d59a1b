"""Spatial domains as papers cluster them: Leiden communities of a neighbour graph, with scanpy (extra ``leiden``)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from stbench.errors import DataError, SettingError
from stbench.metrics.domains import N_COMPONENTS, labelled
from stbench.metrics.fuzzy import fuzzy_union
from stbench.metrics.score import Content, Score, as_matrix

N_NEIGHBOURS = 15
RESOLUTION = 0.3
STATISTICS = ("median", "lowest", "highest")
SEEDS = tuple(range(12))  # on one graph ARI may jump between two values: one seed is no figure
_FEWEST = N_NEIGHBOURS + N_COMPONENTS


@dataclass(frozen=True)
class LeidenAgreement:
    """Agreement of Leiden clusters with domains, one value per seed; print median and range.

    Args:
        ari: adjusted Rand index.
        nmi: normalised mutual information, arithmetic mean of entropies.
        n_clusters: clusters found.
    """

    ari: tuple[float, ...]
    nmi: tuple[float, ...]
    n_clusters: tuple[int, ...]

    def summary(self) -> dict[str, tuple[float, float, float]]:
        """Median, lowest and highest of each, by name."""
        each = {"ari": self.ari, "nmi": self.nmi, "n_clusters": self.n_clusters}
        return {name: (float(np.median(values)), min(values), max(values)) for name, values in each.items()}


def leiden_domains(
    expression: ArrayLike, domains: ArrayLike, *, resolution: float = RESOLUTION, seeds: Sequence[int] = SEEDS
) -> LeidenAgreement:
    """ARI and NMI of Leiden clusters and domains: PCA 20, 15 neighbours, resolution 0.3, igraph, to convergence.

    Up to 50 genes there is no PCA, as scanpy has it.

    All spots are clustered, those that have a domain are scored. What it gives of the measured expression is no upper
    bound: smoothing raises it, and the number of clusters is not that of the domains. :func:`domain_ari` is what ranks.

    Args:
        expression: (n_spots, n_genes), any scale, predicted or measured.
        domains: (n_spots,) names, empty where a spot has none.
        resolution: of the communities.
        seeds: one clustering each, on one graph.

    Raises:
        DataError: shapes differ, a value is not finite, fewer than 35 spots, or no two domains.
        SettingError: igraph is not installed, or no seed is given.
    """
    values, names = as_matrix(expression, "expression"), np.asarray(domains).astype(str)
    has = names != ""
    if names.shape != (len(values),) or len(values) < _FEWEST or len(set(names[has])) < 2:
        raise DataError(
            f"expected at least {_FEWEST} spots in two domains or more, found {len(values)} spots, {len(names)} names "
            f"and {len(set(names[has]))} domains; see obs['domain']"
        )
    if not seeds:
        raise SettingError("expected at least one seed, found none; leave seeds out for 12")
    if find_spec("igraph") is None:
        raise SettingError("expected igraph for Leiden clusters, found none; pip install 'stbench[leiden]'")
    found = [clusters[has] for clusters in _communities(values.astype(np.float32), resolution, seeds)]
    return LeidenAgreement(
        tuple(float(adjusted_rand_score(names[has], one)) for one in found),
        tuple(float(normalized_mutual_info_score(names[has], one)) for one in found),
        tuple(len(set(one)) for one in found),
    )


def domain_leiden(
    true: ArrayLike, pred: ArrayLike, domains: ArrayLike, *, measure: str = "ari", statistic: str = "median"
) -> Score:
    """One figure of :func:`leiden_domains` of a prediction, over 12 seeds.

    Args:
        true: (n_spots, n_genes) expression, used for its shape alone.
        pred: (n_spots, n_genes), any scale.
        domains: (n_spots,) names, empty where a spot has none.
        measure: ``ari``, ``nmi`` or ``n_clusters``.
        statistic: ``median``, ``lowest`` or ``highest`` of the seeds.

    Returns:
        ``n_used`` counts spots with a domain. Undefined as :func:`stbench.metrics.domain_ari` is, but for the truth's
        own clusters, and below 35 spots.

    Raises:
        DataError: shapes differ or a value is not finite.
        SettingError: igraph is not installed.
    """
    at, values = labelled(true, pred, domains), as_matrix(pred, "predicted expression")
    few = f"expected at least {_FEWEST} spots, found {len(values)}" if len(values) < _FEWEST else ""
    if reason := at.reason or few:
        return Score(None, len(at.codes), reason=reason)
    found = _agreement(Content(values), tuple(np.asarray(domains).astype(str)))
    place = STATISTICS.index(statistic)
    return Score(found.summary()[measure][place], len(at.codes))


@lru_cache(maxsize=2)  # several metrics ask for one prediction
def _agreement(content: Content, domains: tuple[str, ...]) -> LeidenAgreement:
    return leiden_domains(content.take(), domains)


def _communities(values: np.ndarray, resolution: float, seeds: Sequence[int]) -> list[np.ndarray]:
    """(n_spots,) clusters from each seed; of what scanpy says of its own future nothing is a user's to mend."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return _clustered(values, resolution, seeds)


def _clustered(values: np.ndarray, resolution: float, seeds: Sequence[int]) -> list[np.ndarray]:
    import scanpy as sc
    from anndata import AnnData

    adata = AnnData(values)
    if adata.n_vars > sc.settings.N_PCS:  # up to so many, scanpy looks for neighbours among the genes themselves
        values = sc.pp.pca(values, n_comps=N_COMPONENTS)
    graph = fuzzy_union(values, N_NEIGHBOURS)
    settings = {"resolution": resolution, "flavor": "igraph", "n_iterations": -1, "directed": False}
    for seed in seeds:
        sc.tl.leiden(adata, adjacency=graph, random_state=seed, key_added=str(seed), **settings)
    return [adata.obs[str(seed)].to_numpy(dtype=str) for seed in seeds]
