"""Rows of an HDF5 array that were declared and never written: they read as zeros, black pictures, without a word."""

from __future__ import annotations

from math import ceil, prod
from typing import Any


def unwritten(array: Any) -> bool:
    """Whether some of an h5py.Dataset was never written, as where its writer was interrupted."""
    if not array.size or array.is_virtual or array.external:
        return False
    if array.chunks is None:
        return bool(array.id.get_storage_size() == 0)
    n = prod(ceil(size / step) for size, step in zip(array.shape, array.chunks, strict=True))
    return bool(array.id.get_num_chunks() < n)
