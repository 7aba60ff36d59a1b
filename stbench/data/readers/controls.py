"""Features of a count matrix that are no genes."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from stbench.data.gene_names import is_control
from stbench.data.readers.counts import shown
from stbench.text import listed

if TYPE_CHECKING:
    from anndata import AnnData

FEATURE_TYPES = "feature_types"  # var: what 10x calls the kind of a feature
_GENE = "Gene Expression"


def without_controls(adata: AnnData) -> tuple[AnnData, list[str]]:
    """Leave out controls by their names, and what ``var["feature_types"]`` says is no gene.

    Args:
        adata: (n_spots, n_features).

    Returns:
        The slide with genes alone, and notes on what was left out.
    """
    names = [str(name) for name in adata.var_names]
    other = _other_types(adata)
    control = np.array([is_control(name) for name in names], dtype=bool) & ~other
    notes = [f"{int(control.sum())} control features left out ({shown(_at(names, control))})"] if control.any() else []
    if other.any():
        kinds = Counter(adata.var[FEATURE_TYPES].astype(str)[other])
        notes.append(f"{int(other.sum())} features left out that are no genes ({listed(sorted(kinds))})")
    if not notes:
        return adata, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names, which the reader adds up
        return adata[:, ~(control | other)].copy(), notes


def _other_types(adata: AnnData) -> np.ndarray:
    """Features of another kind, where some are known to be genes."""
    if FEATURE_TYPES not in adata.var:
        return np.zeros(adata.n_vars, dtype=bool)
    genes = (adata.var[FEATURE_TYPES].astype(str) == _GENE).to_numpy()
    return ~genes if genes.any() else np.zeros(adata.n_vars, dtype=bool)


def _at(names: list[str], where: np.ndarray) -> list[str]:
    return [names[place] for place in np.flatnonzero(where)]
