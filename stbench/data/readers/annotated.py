"""What every reader of AnnData does with the spots of one: raw counts, tissue, genes, totals, array positions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from stbench.data.readers.counts import FloatArray, as_counts, dense_or_sparse, merge_genes, totals
from stbench.data.slide import TOTAL_COUNTS
from stbench.data.sparse import check_sparse
from stbench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

IntArray = NDArray[np.int64]

LIBRARIES = ("library_id", "sample_id", "sample", "library", "section", "batch")  # obs: what names samples
COUNTS = {  # where raw counts are looked for, and the genes of their columns
    "X": ("X", "var"),
    "layers['counts']": ("layers/counts", "var"),
    "layers['raw_counts']": ("layers/raw_counts", "var"),
    "raw.X": ("raw/X", "raw/var"),
}
_LEGACY = re.compile(r"(\d+)x(\d+)")


def raw_counts(
    file: Mapping[str, Any], n_spots: int, rows: IntArray, spots: Sequence[str], where: str
) -> tuple[csr_matrix, pd.DataFrame, list[str]]:
    """Counts of some rows of a file, the table of their genes, and a note where they are not those of ``X``.

    Args:
        file: an open h5py.File or zarr.Group that holds an AnnData.
        n_spots: rows of every matrix in it.
        rows: the rows asked for.
        spots: their names.
        where: file, for messages.

    Raises:
        DataError: what is wrong with ``X`` where no other matrix holds raw counts.
    """
    from anndata.io import read_elem

    first: DataError | None = None
    for name, (matrix, genes) in COUNTS.items():
        if matrix not in file or genes not in file:
            continue
        try:
            var = read_elem(file[genes])
            values = _rows(read_elem(file[matrix]), n_spots, rows, f"{where}, {name}")
            counts = as_counts(values, spots, [str(gene) for gene in var.index], where)
        except DataError as error:
            first = first or error
            continue
        return counts, var, [] if name == "X" else [f"X holds no raw counts: those of {name} are used"]
    raise first or DataError(f"{where}: expected raw counts in X, found none; obtain the file again")


def _rows(matrix: Any, n_spots: int, rows: IntArray, where: str) -> Any:
    """Some rows of a matrix; one that points outside itself is never indexed."""
    if np.ndim(matrix) != 2 or matrix.shape[0] != n_spots:
        raise DataError(f"{where}: expected a row for each of {n_spots} spots, found {np.shape(matrix)}")
    if issparse(matrix):
        check_sparse(matrix, where, once=False)
    return dense_or_sparse(matrix)[rows]


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
