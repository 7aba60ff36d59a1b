"""Feature-barcode matrices of 10x: HDF5 of version 3, and Matrix Market with its lists of barcodes and features."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from stbench.data.hdf5 import check_header
from stbench.data.readers.counts import as_counts, check_unique
from stbench.data.sparse import check_sparse
from stbench.errors import DataError
from stbench.reading import ARRAYS, UNREADABLE, check_table, opened
from stbench.text import few, one_line

if TYPE_CHECKING:
    import pandas as pd

GENE_ID = "gene_ids"  # var: Ensembl id, scanpy's name for it
_GENES = "Gene Expression"
_ENTRY_BYTES = 64  # of one count while it is read: three numbers as text makes them, then the sparse matrix
_LEAST_TEXT = 6  # "1 1 1" and the end of the line
_LONGEST_LINE = 2**16

Parts = tuple[Any, list[str], list[str], list[str], list[str]]


@dataclass(frozen=True)
class Market:
    """Files of a matrix in Matrix Market form.

    Args:
        matrix: ``matrix.mtx``, features x barcodes.
        barcodes: ``barcodes.tsv``, one a line.
        features: ``features.tsv`` (id, symbol, type) or, before version 3, ``genes.tsv`` (id, symbol).
    """

    matrix: Path
    barcodes: Path
    features: Path

    def __str__(self) -> str:
        return str(self.matrix)


def read_matrix(source: Path | Market) -> tuple[csr_matrix, list[str], pd.DataFrame, list[str]]:
    """Read a feature-barcode matrix; features other than gene expression are left out, and said.

    Args:
        source: HDF5 file, or files of Matrix Market form, each gzipped where its name ends in .gz.

    Returns:
        (n_spots, n_genes) int32 counts, barcodes, a table of the genes (index symbol, column ``gene_ids``), and notes.

    Raises:
        DataError: truncated, of another layout, parts that do not fit each other, or counts that are no raw counts.
    """
    import pandas as pd

    where = str(source)
    matrix, barcodes, names, ids, kinds = _market(source) if isinstance(source, Market) else _hdf5(source)
    check_unique(barcodes, "spot", where)
    genes = np.flatnonzero(np.array(kinds) == _GENES)
    counts = as_counts(matrix, barcodes, names, where)[:, genes]
    table = pd.DataFrame({GENE_ID: [ids[i] for i in genes]}, index=[names[i] for i in genes])
    rest = sorted({kind for kind in kinds if kind != _GENES})
    notes = [f"{len(kinds) - len(genes)} features that are no genes left out ({few(rest)})"] if rest else []
    return csr_matrix(counts), barcodes, table, notes


def _hdf5(path: Path) -> Parts:
    import h5py

    with _said(path, "a 10x matrix in HDF5"):
        check_header(path)
        with h5py.File(path) as file:
            group = file["matrix"]
            parts = [group[key][:] for key in ("data", "indices", "indptr")]
            n_genes, n_spots = (int(n) for n in group["shape"][:])
            barcodes = _texts(group["barcodes"][:])
            names, ids, kinds = (_texts(group["features"][key][:]) for key in ("name", "id", "feature_type"))
        _check_lengths(n_genes, name=names, id=ids, feature_type=kinds)
        # Stored by columns as genes x barcodes, which is barcodes x genes by rows.
        matrix = csr_matrix(tuple(parts), shape=(n_spots, n_genes))
        check_sparse(matrix, "matrix")
    return matrix, barcodes, names, ids, kinds


@contextmanager
def _said(path: Path, what: str) -> Iterator[None]:
    """Whatever a library trips over in a damaged file, in one line."""
    try:
        yield
    except (*UNREADABLE, KeyError, TypeError, RuntimeError, AttributeError, OverflowError, MemoryError) as error:
        found = one_line(" ".join(str(error).split())) or type(error).__name__
        raise DataError(f"{path}: expected {what}, found: {found}; obtain the file again") from error


def _check_lengths(n_genes: int, **features: list[str]) -> None:
    for key, found in features.items():
        if len(found) != n_genes:
            raise ValueError(f"{len(found)} entries of features/{key} for {n_genes} genes")


def _texts(raw: Any) -> list[str]:
    return [text.decode() if isinstance(text, bytes) else str(text) for text in raw]


def _market(files: Market) -> Parts:
    with _said(files.barcodes, "barcodes, one a line"):
        barcodes = [line[0] for line in _lines(files.barcodes)]
    with _said(files.features, "features: id, symbol and type of one a line"):
        features = list(_lines(files.features))
        if short := next((i for i, line in enumerate(features) if len(line) != len(features[0])), None):
            raise ValueError(f"{len(features[short])} columns in line {short + 1}, {len(features[0])} in the first")
    with _said(files.matrix, "counts in Matrix Market form"):
        matrix = _entries(files.matrix, (len(features), len(barcodes)))
    names = [line[1 if len(line) > 1 else 0] for line in features]
    kinds = [line[2] if len(line) > 2 else _GENES for line in features]
    return matrix, barcodes, names, [line[0] for line in features], kinds


def _lines(path: Path) -> Iterator[list[str]]:
    """Rows of a table without a header, none of them empty."""
    check_table(path)
    with opened(path) as file:
        text = file.read().decode("utf-8-sig")
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        cells = [cell.strip().strip('"') for cell in line.split("\t")]
        if not all(cells[:2]):
            raise ValueError(f"line {number} without a name")
        yield cells


def _entries(path: Path, listed: tuple[int, int]) -> csr_matrix:
    """(n_spots, n_features) counts; the header is held against the lists before a count is read."""
    n_bytes = check_table(path, ARRAYS)
    skip, shape, n = _header(path)
    if shape != listed:
        raise ValueError(
            f"{shape[0]} features x {shape[1]} barcodes in its header, {listed[0]} x {listed[1]} in the lists beside it"
        )
    if n * _LEAST_TEXT > n_bytes:
        raise ValueError(f"{n} counts in its header, which {n_bytes} bytes cannot hold")
    ARRAYS.check(n * _ENTRY_BYTES, "counts")
    rows, columns, values = _numbers(path, skip, n)
    for what, found, most in (("feature", rows, shape[0]), ("barcode", columns, shape[1])):
        wrong = np.flatnonzero(~((found >= 1) & (found <= most) & (found == np.floor(found))))
        if len(wrong):
            raise ValueError(f"{what} {found[wrong[0]]:.12g} in entry {wrong[0] + 1}, where there are 1 to {most}")
    places = (columns.astype(np.int64) - 1, rows.astype(np.int64) - 1)
    matrix = csr_matrix((values, places), shape=shape[::-1])
    if matrix.nnz < n:
        raise ValueError(f"{n - matrix.nnz} places with two counts, of which one cannot be known")
    return matrix


def _header(path: Path) -> tuple[int, tuple[int, int], int]:
    """Lines before the first entry, (features, barcodes), and the number of entries that are declared."""
    with opened(path) as file:
        banner = file.readline(_LONGEST_LINE).decode("ascii", "replace").lower().split()
        if banner[:1] != ["%%matrixmarket"] or banner[1:3] != ["matrix", "coordinate"] or banner[4:] != ["general"]:
            raise ValueError(f"{one_line(' '.join(banner))[:80] or 'nothing'!r} in its first line")
        if banner[3] not in ("integer", "real", "unsigned-integer"):
            raise ValueError(f"entries that are {banner[3]}, no counts")
        skip, line = 1, file.readline(_LONGEST_LINE)
        while line.startswith(b"%") or (line and not line.strip()):
            skip, line = skip + 1, file.readline(_LONGEST_LINE)
    sizes = line.split()
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise ValueError(f"{one_line(line[:80].decode('ascii', 'replace'))!r} in place of its size")
    rows, columns, n = (int(size) for size in sizes)
    return skip + 1, (rows, columns), n


def _numbers(path: Path, skip: int, n: int) -> Sequence[Any]:
    """Feature, barcode and count of every entry, three arrays of float64.

    scipy's reader takes 2.5 for 2 where the header says integer, and passes over what follows in a line.
    """
    import pandas as pd

    if not n:
        return [np.empty(0)] * 3
    table = pd.read_csv(
        path, sep=r"\s+", header=None, skiprows=skip, dtype=np.float64, quoting=csv.QUOTE_NONE, encoding="ascii"
    )
    if table.shape != (n, 3):
        raise ValueError(f"{len(table)} entries of {table.shape[1]} numbers, its header says {n} of 3")
    return [table[column].to_numpy() for column in range(3)]
