"""Metrics as plain functions on arrays: ``pcc(true, pred)``, ``gsc(true, pred)``, ``ssc(true, pred, xy)`` and others.

Names are imported when first used, so that the command line starts without scipy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stbench.metrics.accuracy import PooledBetween, PooledPcc, PooledWithin, mae, mse, partial_pcc, pcc
    from stbench.metrics.ceiling import Ceiling, Cut
    from stbench.metrics.components import pc1_pcc, pc1_share
    from stbench.metrics.domains import domain_ari, domain_nmi, domain_self_ari, self_agreement
    from stbench.metrics.gene_sets import gene_set_gsc, gene_set_pcc, set_scores
    from stbench.metrics.generative import (
        coverage_error,
        crps,
        draw_variance,
        energy_score,
        interval_width,
        variance_ratio,
        variogram_score,
    )
    from stbench.metrics.leiden import domain_leiden, leiden_domains
    from stbench.metrics.markers import marker_domains, marker_overlap
    from stbench.metrics.references import reference_rows
    from stbench.metrics.score import Score
    from stbench.metrics.serial import serial_sections
    from stbench.metrics.splitting import count_split, seed_of
    from stbench.metrics.structure import gsc, moran_bias, morans_i, spatial_weights, ssc
    from stbench.metrics.summary import score_slide

__all__ = [
    "Ceiling",
    "Cut",
    "PooledBetween",
    "PooledPcc",
    "PooledWithin",
    "Score",
    "count_split",
    "coverage_error",
    "crps",
    "domain_ari",
    "domain_leiden",
    "domain_nmi",
    "domain_self_ari",
    "draw_variance",
    "energy_score",
    "gene_set_gsc",
    "gene_set_pcc",
    "gsc",
    "interval_width",
    "leiden_domains",
    "mae",
    "marker_domains",
    "marker_overlap",
    "moran_bias",
    "morans_i",
    "mse",
    "partial_pcc",
    "pc1_pcc",
    "pc1_share",
    "pcc",
    "reference_rows",
    "score_slide",
    "seed_of",
    "self_agreement",
    "serial_sections",
    "set_scores",
    "spatial_weights",
    "ssc",
    "variance_ratio",
    "variogram_score",
]

_HOMES = {
    "accuracy": ("PooledBetween", "PooledPcc", "PooledWithin", "mae", "mse", "partial_pcc", "pcc"),
    "ceiling": ("Ceiling", "Cut"),
    "components": ("pc1_pcc", "pc1_share"),
    "domains": ("domain_ari", "domain_nmi", "domain_self_ari", "self_agreement"),
    "gene_sets": ("gene_set_gsc", "gene_set_pcc", "set_scores"),
    "generative": (
        "coverage_error",
        "crps",
        "draw_variance",
        "energy_score",
        "interval_width",
        "variance_ratio",
        "variogram_score",
    ),
    "leiden": ("domain_leiden", "leiden_domains"),
    "markers": ("marker_domains", "marker_overlap"),
    "references": ("reference_rows",),
    "score": ("Score",),
    "serial": ("serial_sections",),
    "splitting": ("count_split", "seed_of"),
    "structure": ("gsc", "moran_bias", "morans_i", "spatial_weights", "ssc"),
    "summary": ("score_slide",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
