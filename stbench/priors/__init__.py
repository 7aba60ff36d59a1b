"""Priors: one vector per panel gene, from training expression or from a file; or vectors per training spot."""

from stbench.priors.per_spot import PerSpotTable
from stbench.priors.table import GenePrior, build_prior, build_spot_prior

__all__ = ["GenePrior", "PerSpotTable", "build_prior", "build_spot_prior"]
