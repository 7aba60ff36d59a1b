"""Spatial domains as papers cluster them: Leiden communities of a neighbour graph, with scanpy (extra ``leiden``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from stbench.errors import DataError, SettingError
from stbench.metrics.domains import N_COMPONENTS
from stbench.metrics.score import as_matrix

N_NEIGHBOURS = 15
RESOLUTION = 0.3
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


def _communities(values: np.ndarray, resolution: float, seeds: Sequence[int]) -> list[np.ndarray]:
    """(n_spots,) clusters from each seed."""
    import scanpy as sc
    from anndata import AnnData

    adata = AnnData(values)
    n_components = min(N_COMPONENTS, values.shape[1] - 1)
    sc.pp.pca(adata, n_comps=n_components)
    sc.pp.neighbors(adata, n_neighbors=N_NEIGHBOURS, n_pcs=n_components)
    settings = {"resolution": resolution, "flavor": "igraph", "n_iterations": -1, "directed": False}
    for seed in seeds:
        sc.tl.leiden(adata, random_state=seed, key_added=str(seed), **settings)
    return [adata.obs[str(seed)].to_numpy(dtype=str) for seed in seeds]
