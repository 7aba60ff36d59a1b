"""Whether the parts of a sparse matrix fit each other: scipy takes them unseen, and then reads outside its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

IntArray = NDArray[Any]


def check_sparse(matrix: Any, name: str, *, once: bool = True) -> None:
    """Raise ValueError for a CSR or CSC matrix that points outside itself or names a place twice.

    Args:
        matrix: any sparse matrix of scipy; it is not changed.
        name: what it is called, for the message.
        once: whether a place may have one value alone; looking for two takes longer.
    """
    if matrix.format not in ("csr", "csc"):
        raise ValueError(f"{name}: a sparse matrix of format {matrix.format}, not csr or csc")
    words = ("row", "column") if matrix.format == "csr" else ("column", "row")
    major, minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    said = _flaw(matrix.data, matrix.indices, matrix.indptr, major, minor, words)
    if said := said or (_twice(matrix.indices, matrix.indptr, words) if once else ""):
        raise ValueError(f"{name}: a sparse matrix with {said}")


def _flaw(data: IntArray, indices: IntArray, indptr: IntArray, major: int, minor: int, words: tuple[str, str]) -> str:
    """What is wrong with the parts, empty where nothing is."""
    for part, array in (("indices", indices), ("indptr", indptr)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            return f"{part} of shape {array.shape} and type {array.dtype}, not one row of integers"
    if data.ndim != 1 or len(data) != len(indices):
        return f"{len(indices)} indices for data of shape {data.shape}"
    if len(indptr) != major + 1:
        return f"{len(indptr)} entries of indptr for {major} {words[0]}s"
    if indptr[0] != 0 or indptr[-1] != len(data) or (indptr[1:] < indptr[:-1]).any():
        return f"indptr that does not rise from 0 to {len(data)}, the number of values"
    if len(indices) and not (indices.min() >= 0 and indices.max() < minor):
        return f"a {words[1]} index {indices.min() if indices.min() < 0 else indices.max()} outside 0 to {minor - 1}"
    return ""


def _twice(indices: IntArray, indptr: IntArray, words: tuple[str, str]) -> str:
    """Where one place has two values; of two, which one is meant cannot be known."""
    if not len(indices) or csr_matrix((np.empty(len(indices), dtype=np.int8), indices, indptr)).has_canonical_format:
        return ""
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    ordered = indices[np.lexsort((indices, row))]
    found = np.flatnonzero((ordered[1:] == ordered[:-1]) & (row[1:] == row[:-1]))
    if not len(found):
        return ""
    return f"{words[0]} {row[found[0]]}, {words[1]} {ordered[found[0]]} twice ({len(found)} such places)"
