"""What domains and markers score without any prediction: the rows that a downstream table is read against."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from stbench.metrics.ceiling import Cut
from stbench.metrics.domains import Codes, cluster, labelled, unsteady
from stbench.metrics.score import FloatArray, Score
from stbench.metrics.splitting import thin
from stbench.metrics.structure import spatial_weights
from stbench.metrics.summary import of_domains, score_slide

RING = 6  # neighbours on a hexagonal array; all ties count, which makes 8 on a square one
REACH = 1.5  # pitches, within which both lie and no spot of the next ring
Scores = dict[str, Score]


def reference_rows(cut: Cut, domains: ArrayLike, scale: str = "log1p", *, seed: int = 0) -> dict[str, Scores]:
    """Scores of what is known of a slide without a prediction, none of them an upper bound.

    Rows: ``measured``, the panel itself; ``smoothed``, every spot averaged with the ring around it; ``half``, a random
    half of the counts, doubled; ``coordinates``, the positions alone; ``depth``, quantiles of the total counts, as many
    as there are domains. The first three are scored by every registered metric of domains, as a prediction on ``scale``
    is; the others by ``domain-ari`` and ``domain-nmi``, undefined where the truth is not steady
    (:func:`stbench.metrics.domain_ari`).

    Args:
        cut: counts over the panel, total counts and positions of the slide.
        domains: (n_spots,) names, empty where a spot has none; those spots are left out.
        scale: of expression, see :func:`stbench.data.normalize.normalize`.
        seed: of the half.

    Returns:
        Row to name of the metric's card to score.

    Raises:
        UnknownNameError: no such scale.
        DataError: shapes differ, or more than 256 spots lie as near to one as its 6th neighbour.
    """
    truth = cut.on(scale)
    half = thin(cut, np.random.default_rng(seed))[0].on(scale, 2)
    rows = {"measured": truth, "smoothed": smoothed(truth, cut.xy), "half": half}
    names = of_domains()
    found = {
        row: score_slide(truth, values, cut.xy, domains=domains, scale=scale, names=names)
        for row, values in rows.items()
    }
    found["coordinates"] = _of_domains(truth, np.asarray(cut.xy, dtype=np.float64), domains)
    found["depth"] = _of_domains(truth, cut.totals[:, None], domains, quantiles=True)
    return found


def smoothed(expression: FloatArray, xy: ArrayLike) -> FloatArray:
    """(n_spots, n_genes) every spot averaged with its ring of neighbours, fewer at borders.

    Args:
        expression: (n_spots, n_genes), any scale.
        xy: (n_spots, 2) spot centres, any unit.
    """
    weights: csr_matrix = spatial_weights(xy, RING, max_pitches=REACH)
    n_near = np.asarray(weights.sum(axis=1)).reshape(-1, 1)
    return np.asarray((expression + weights @ expression) / (1 + n_near))


def _of_domains(truth: FloatArray, values: FloatArray, domains: ArrayLike, *, quantiles: bool = False) -> Scores:
    at, has = labelled(truth, truth, domains), np.asarray(domains).astype(str) != ""
    reason = at.reason or unsteady(at.true, at.n_domains)
    if reason:
        return {name: Score(None, len(at.codes), reason=reason) for name in ("domain-ari", "domain-nmi")}
    k = at.n_domains
    found = _quantiles(values[has, 0], k) if quantiles else cluster(values[has], k)
    return {
        "domain-ari": Score(float(adjusted_rand_score(at.codes, found)), len(found)),
        "domain-nmi": Score(float(normalized_mutual_info_score(at.codes, found)), len(found)),
    }


def _quantiles(values: FloatArray, k: int) -> Codes:
    return np.searchsorted(np.quantile(values, np.arange(1, k) / k), values, side="right").astype(np.int64)
