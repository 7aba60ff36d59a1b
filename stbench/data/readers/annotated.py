"""What every reader of ``.h5ad`` files does with the spots of one: tissue, genes, totals, array positions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from stbench.data.readers.counts import FloatArray, merge_genes, totals
from stbench.data.slide import TOTAL_COUNTS

if TYPE_CHECKING:
    from anndata import AnnData

LIBRARIES = ("library_id", "sample_id", "sample", "library", "section", "batch")  # obs: what names samples
_LEGACY = re.compile(r"(\d+)x(\d+)")


def one_column_per_gene(adata: AnnData) -> tuple[AnnData, list[str]]:
    """Columns of one gene symbol added up, as :func:`merge_genes` does, and notes."""
    from anndata import AnnData

    counts, symbols, column, notes = merge_genes(adata.X, [str(gene) for gene in adata.var_names])
    if not notes:
        return adata, []
    var = adata.var.iloc[np.unique(column, return_index=True)[1]].set_axis(symbols, axis=0)
    return AnnData(counts, obs=adata.obs, var=var, uns=dict(adata.uns), obsm=dict(adata.obsm)), notes


def under_tissue(adata: AnnData) -> tuple[AnnData, list[str]]:
    """The spots whose ``obs["in_tissue"]`` says so, all where none does or nothing is said; and notes."""
    if "in_tissue" not in adata.obs:
        return adata, []
    inside = adata.obs["in_tissue"].astype(str).isin(["1", "1.0", "True"]).to_numpy()
    if inside.all() or not inside.any():
        return adata, []
    return adata[inside].copy(), [f"{int((~inside).sum())} spots outside the tissue left out"]


def total_counts(adata: AnnData) -> list[str]:
    """Keep the file's totals, which may include genes that were filtered, unless they cannot be totals."""
    summed, said = totals(adata.X), finite(adata, TOTAL_COUNTS)
    usable = said is not None and bool((said[:, 0] >= summed).all())
    adata.obs[TOTAL_COUNTS] = said[:, 0] if said is not None and usable else summed
    known = usable or said is None
    return [] if known else [f"obs['{TOTAL_COUNTS}'] is below the sum of the counts: summed anew"]


def finite(adata: AnnData, *columns: str) -> FloatArray | None:
    """(n_spots, n_columns) of obs, None where a column is missing or holds anything but numbers."""
    import pandas as pd

    if not set(columns) <= set(adata.obs.columns):
        return None
    values = adata.obs[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    return values if np.isfinite(values).all() else None


def array_of(adata: AnnData) -> FloatArray | None:
    """(n_spots, 2) array column and row: of names such as ``10x14``, else of obs; None where a spot has none."""
    spots = [_LEGACY.fullmatch(str(spot)) for spot in adata.obs_names]
    legacy = [(float(spot[1]), float(spot[2])) for spot in spots if spot is not None]
    if legacy and len(legacy) == len(spots):  # array_row and array_col are named the wrong way round in these files
        return np.array(legacy)
    return finite(adata, "array_col", "array_row")
