"""A table of counts as text, tab separated: spots by genes, or genes by spots where the header names positions."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.data.readers.counts import FloatArray, as_counts, check_unique
from stbench.data.remembered import remembered
from stbench.errors import DataError
from stbench.files import sha256_of
from stbench.reading import check_regular, check_table
from stbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

POSITION = re.compile(r"\s*(\d{1,9})x(\d{1,9})\s*")
"""Name of a spot by its place on the array, x and y."""
_DIGITS = b"0123456789\t"
_VERSION = 1  # raise it when what is read of a file changes
_PARTS, _NAMES = ("data", "indices", "indptr"), ("spots", "genes")


class _Table(NamedTuple):
    spots: list[str]
    genes: list[str]
    values: NDArray[np.int64] | FloatArray  # (n_spots, n_genes)


def read_counts(path: Path) -> tuple[csr_matrix, list[str], list[str]]:
    """Read a table of counts, gzipped where its name ends in .gz.

    The first header cell is empty or, as R writes it, left out.

    Returns:
        (n_spots, n_genes) int32 counts, names of the spots, names of the genes.

    Raises:
        DataError: truncated, not a table, or counts that are no raw counts.
    """
    try:
        check_regular(path)
        about = ["counts", _VERSION, path.suffix == ".gz", sha256_of(path)]
        found = remembered(about, lambda: _arrays(*_read(path)))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, ValueError) as error:
        raise DataError(
            f"{path}: expected a complete table of counts, found: {one_line(str(error))}; obtain the file again"
        ) from error
    spots, genes = (json.loads(found[names].tobytes()) for names in _NAMES)
    return csr_matrix(tuple(found[part] for part in _PARTS), shape=(len(spots), len(genes))), spots, genes


def _read(path: Path) -> tuple[csr_matrix, list[str], list[str]]:
    check_table(path)
    spots, genes, values = _upright(_whole_numbers(path) or _parsed(path))
    check_unique(spots, "spot", str(path))
    return as_counts(values, spots, genes, str(path)), spots, genes


def _arrays(counts: csr_matrix, spots: list[str], genes: list[str]) -> dict[str, NDArray[Any]]:
    names = [np.frombuffer(json.dumps(said).encode(), dtype=np.uint8) for said in (spots, genes)]
    return dict(zip(_NAMES, names, strict=True)) | {part: getattr(counts, part) for part in _PARTS}


def plain(spot: str) -> str:
    """``10x14`` of ``010x014``; any other name is kept."""
    found = POSITION.fullmatch(spot)
    return spot if found is None else f"{int(found[1])}x{int(found[2])}"


def _upright(table: _Table) -> _Table:
    """Spots by genes of genes by spots."""
    if _are_positions(table.genes) and not _are_positions(table.spots):
        return _Table(table.genes, table.spots, table.values.T)
    return table


def _are_positions(names: Sequence[str]) -> bool:
    return bool(names) and all(POSITION.fullmatch(name) for name in names)


def _whole_numbers(path: Path) -> _Table | None:
    """The table where every value is written in digits alone; None for any other, which is looked at more slowly.

    A parser of tables makes an object of each of the 15,000 columns, which takes ten times as long.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head, *lines = file.read().replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    genes = head.decode().split("\t")[1:]
    spots, rows = [], []
    for line in lines:
        spot, _, said = line.partition(b"\t")
        empty = said.startswith(b"\t") or said.endswith(b"\t") or b"\t\t" in said
        if not spot or b'"' in spot or empty or said.count(b"\t") != len(genes) - 1 or said.translate(None, _DIGITS):
            return None
        spots.append(spot.decode())
        rows.append(np.fromstring(said, dtype=np.int64, sep="\t"))  # more than it holds is the most it holds
    return _Table(spots, genes, np.stack(rows)) if rows else None


def _parsed(path: Path) -> _Table:
    import pandas as pd

    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        header = [name.strip('"') for name in file.readline().rstrip("\r\n").split("\t")]
        table = pd.read_csv(file, sep="\t", header=None, dtype={0: str}, low_memory=False, na_filter=True)
    genes = header if header[0] and table.shape[1] == len(header) + 1 else header[1:]
    if table.shape[1] != len(genes) + 1:
        raise DataError(
            f"{path}: expected {len(genes)} counts a row as the header names genes, found {table.shape[1] - 1}; "
            "obtain the file again"
        )
    spots = table[0].astype(str).tolist()
    return _Table(spots, genes, _values(table.iloc[:, 1:], spots, genes, path))


def _values(table: pd.DataFrame, spots: list[str], genes: list[str], path: Path) -> FloatArray:
    import pandas as pd

    values = table.to_numpy()
    if values.dtype == np.bool_ or not np.issubdtype(values.dtype, np.number):
        coerced = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
        row, column = np.argwhere(np.isnan(coerced))[0] if np.isnan(coerced).any() else (0, 0)
        raise DataError(
            f"{path}: expected raw counts (integers from 0), found {table.iat[row, column]!r} at spot {spots[row]}, "
            f"gene {genes[column]}; repair the file"
        )
    return values
