"""Checks that every layout's counts and spots go through, and the AnnData they end in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from stbench.data.sparse import check_sparse
from stbench.errors import DataError
from stbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

_LARGEST = np.iinfo(np.int32).max
_SHOWN = 3


def as_counts(values: Any, spots: Sequence[str], genes: Sequence[str], where: str) -> csr_matrix:
    """Raw counts as CSR int32, whatever they were stored as.

    Args:
        values: (n_spots, n_genes) array or sparse matrix of numbers.
        spots: names of the rows.
        genes: names of the columns.
        where: file, for messages.

    Raises:
        DataError: a count that is missing, negative, fractional or too large, with its spot and gene; a sparse matrix
            that points outside itself or names a place twice; no numbers.
    """
    matrix = _as_csr(values, where)
    if matrix.shape != (len(spots), len(genes)):
        raise DataError(f"{where}: expected {len(spots)} spots x {len(genes)} genes, found {matrix.shape}")
    if not np.issubdtype(matrix.dtype, np.number) or np.issubdtype(matrix.dtype, np.complexfloating):
        raise DataError(f"{where}: expected numbers as counts, found type {matrix.dtype}")
    _check_values(matrix, spots, genes, where)
    counts = matrix.astype(np.int32)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def _as_csr(values: Any, where: str) -> csr_matrix:
    try:
        return _checked(values) if issparse(values) else csr_matrix(np.atleast_2d(values))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: expected counts as numbers, found {one_line(str(error))}; obtain the file again"
        ) from error


def _checked(matrix: Any) -> csr_matrix:
    check_sparse(matrix, "counts")
    parts = (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64))
    return csr_matrix(type(matrix)(parts, shape=matrix.shape))


def _check_values(matrix: csr_matrix, spots: Sequence[str], genes: Sequence[str], where: str) -> None:
    data = matrix.data
    with np.errstate(invalid="ignore"):
        wrong = ~((data >= 0) & (data <= _LARGEST) & (data == np.floor(data)))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
        raise DataError(
            f"{where}: expected raw counts (integers from 0), found {data[first]} at spot {spots[row]}, "
            f"gene {genes[matrix.indices[first]]} ({int(wrong.sum())} such values); "
            "put the unnormalised counts there, or repair the file"
        )


def check_unique(names: Sequence[str], what: str, where: str) -> None:
    """Raise DataError naming the first repeated one.

    Args:
        names: of spots or slides.
        what: what they name.
        where: file, for messages.
    """
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in seen:
            raise DataError(
                f"{where}: expected every {what} once, found {name} in rows {seen[name] + 1} and {row + 1}; remove one"
            )
        seen[name] = row


def merge_genes(counts: csr_matrix, genes: Sequence[str]) -> tuple[csr_matrix, list[str], NDArray[np.int64], list[str]]:
    """Add up the columns of genes that carry the same symbol: the panel knows a gene by its symbol.

    Args:
        counts: (n_spots, n_genes).
        genes: names of the columns.

    Returns:
        Counts with one column per symbol in order of first appearance, the symbols, for every column of ``counts`` its
        new column, and notes.
    """
    place = {gene: i for i, gene in enumerate(dict.fromkeys(genes))}
    column = np.array([place[gene] for gene in genes], dtype=np.int64)
    if len(place) == len(genes):
        return counts, list(genes), column, []
    ones = np.ones(len(genes), dtype=np.int64)
    merge = csr_matrix((ones, (np.arange(len(genes)), column)), shape=(len(genes), len(place)))
    repeated = [gene for gene, n in zip(*np.unique(genes, return_counts=True), strict=True) if n > 1]
    note = f"{len(genes) - len(place)} columns added to another one of the same gene symbol ({shown(repeated)})"
    merged = csr_matrix(counts @ merge)
    if merged.nnz and merged.data.max() > _LARGEST:
        raise DataError(f"expected counts up to {_LARGEST}, found {merged.data.max()} as columns of one gene are added")
    return merged.astype(np.int32), list(place), column, [note]


def check_inside(xy: FloatArray, size: tuple[float, float] | None, spots: Sequence[str], where: str) -> None:
    """Raise DataError for a spot centre that is not a number or lies outside the picture.

    Args:
        xy: (n_spots, 2) spot centres in full-resolution pixels.
        size: (width, height) of the picture, None when it is unknown.
        spots: names of the rows.
        where: file, for messages.
    """
    lost = np.flatnonzero(~np.isfinite(xy).all(axis=1))
    if len(lost):
        raise DataError(
            f"{where}: expected finite pixel coordinates, found {tuple(xy[lost[0]].tolist())} "
            f"at spot {spots[lost[0]]} ({len(lost)} such spots); repair or remove the rows"
        )
    outside = np.flatnonzero((xy < 0).any(axis=1) | (size is not None and (xy > np.array(size)).any(axis=1)))
    if len(outside):
        extent = "coordinates from 0" if size is None else f"spots inside the picture of {size[0]} x {size[1]} px"
        x, y = xy[outside[0]].tolist()
        turned = size is not None and bool(((xy[:, ::-1] >= 0) & (xy[:, ::-1] <= np.array(size))).all())
        raise DataError(
            f"{where}: expected {extent}, found spot {spots[outside[0]]} at x {x:.1f}, y {y:.1f} "
            f"({len(outside)} such spots); "
            + ("exchange x and y: then all lie inside" if turned else "check that picture and spots belong together")
        )


def match_spots(counted: Sequence[str], placed: Sequence[str], where: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Spots that both files name, in the order of the counts.

    Args:
        counted: spots with counts.
        placed: spots with a position.
        where: the two files.

    Returns:
        The spots, and notes on those that only one of the files names.

    Raises:
        DataError: no spot in common.
    """
    have, want = set(counted), set(placed)
    shared = [spot for spot in counted if spot in want]
    if not shared:
        raise DataError(
            f"{where[0]}: expected spots of {where[1]} ({shown(placed)}), found none in common ({shown(counted)}); "
            "check that both files belong to one slide"
        )
    notes = []
    for only, what in (
        ([spot for spot in counted if spot not in want], "no position"),
        ([spot for spot in placed if spot not in have], "no counts"),
    ):
        if only:
            notes.append(f"{len(only)} spot{'s' if len(only) > 1 else ''} dropped: {what} ({shown(only)})")
    return shared, notes


def other_orders(spots: Sequence[str], lists: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names of the lists that hold the spots in another order."""
    known = set(spots)
    return tuple(name for name, listed in lists.items() if [spot for spot in listed if spot in known] != list(spots))


def oriented(array: FloatArray, xy: FloatArray) -> tuple[NDArray[np.float32], list[str]]:
    """Array positions as x right and y down, decided by the pixels: which column is which differs between studies.

    Args:
        array: (n_spots, 2) array positions, presumed x and y.
        xy: (n_spots, 2) spot centres in pixels.

    Returns:
        (n_spots, 2) array positions whose first column grows to the right of the picture, and notes.
    """
    if len(array) < 3 or not (np.ptp(array, axis=0).all() and np.ptp(xy, axis=0).all()):
        return array.astype(np.float32), []
    notes = []
    follows = np.corrcoef(array.T, xy.T)[:2, 2:]
    mirrored = np.linalg.det(follows) < 0  # turning a slide leaves this be, exchanging x and y does not
    if abs(follows[0, 0]) + abs(follows[1, 1]) < abs(follows[0, 1]) + abs(follows[1, 0]):
        array, follows = array[:, ::-1], follows[::-1]
        notes.append("array rows and columns exchanged: the pixel coordinates say so")
    for axis in (0, 1):
        if follows[axis, axis] < 0:
            array = array.copy()
            array[:, axis] = array[:, axis].min() + array[:, axis].max() - array[:, axis]
            notes.append(f"array {'xy'[axis]} turned round: it ran against the picture")
    if mirrored and notes:
        notes[-1] += (
            "; one is the other's mirror image: x and y of the positions may be exchanged, or one run backwards"
        )
    return array.astype(np.float32), notes


def totals(counts: csr_matrix) -> FloatArray:
    """(n_spots,) UMI per spot."""
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()


def check_columns(table: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    """Raise DataError naming every missing column."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(
            f"{where}: expected the columns {', '.join(columns)}, found {', '.join(map(str, table.columns[:8]))} "
            f"without {', '.join(missing)}; obtain the file again"
        )


def numbers(table: pd.DataFrame, columns: Sequence[str], where: str) -> FloatArray:
    """(n_rows, n_columns) float64; raises DataError naming the first row that holds anything but a number."""
    import pandas as pd

    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{where}, row {row + 1}, column {columns[column]}: expected a number, "
            f"found {table[columns[column]].iloc[row]!r}; repair or remove the row"
        )
    return values


def shown(names: Sequence[str]) -> str:
    """The first few names."""
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(str(name) for name in names[:_SHOWN]) + more if len(names) else "none"


def dense_or_sparse(matrix: Any) -> Any:
    """A matrix of AnnData in memory: sparse stays sparse, everything else becomes an array."""
    return matrix if issparse(matrix) else np.asarray(matrix)
