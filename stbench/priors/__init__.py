"""Gene priors: one vector per panel gene, from training expression or from a file."""

from stbench.priors.table import GenePrior, build_prior

__all__ = ["GenePrior", "build_prior"]
