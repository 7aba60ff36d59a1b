"""HDF5 files of others: the header is held against limits and against itself before an array is read."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.sparse import issparse

from stbench.data.sparse import check_sparse
from stbench.errors import DataError, StbenchError
from stbench.reading import ARRAYS, check_regular
from stbench.text import one_line

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

_DEEPEST = 64
_SPARSE = ("csr_matrix", "csc_matrix")
_ENCODING = r"encoding_type='(.*?)', encoding_version='(.*?)'"  # as anndata says it
_PLACE = r"key '(.*?)' of .* from (\S+)"
_ALIGNED = ("layers", "obsm", "varm", "obsp", "varp")


@contextmanager
def intact(path: Path, wrong: Callable[[Exception], str] | None = None) -> Iterator[None]:
    """Whatever goes wrong with a file in the block is a DataError that names it.

    Args:
        path: the file, or the folder of a store.
        wrong: what was expected, what was found and what to do; that of ``.h5ad`` files when None.
    """
    try:
        yield
    except StbenchError:
        raise
    except Exception as error:  # a damaged file ends in whatever the first library trips over
        raise DataError(f"{path}: {(wrong or _wrong)(error)}") from error


def read_h5ad(path: Path) -> AnnData:
    """An AnnData file in memory, every sparse array in it checked.

    Raises:
        DataError: no intact ``.h5ad`` file, one of a newer anndata, one that takes more memory than
            ``STBENCH_MAX_ARRAYS_GB``, or one whose arrays are linked from other files.
    """
    import anndata

    with intact(path):
        check_header(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # repeated names, with which readers deal
            adata = anndata.read_h5ad(path)
        _check_aligned(adata)
    return adata


def _wrong(error: Exception) -> str:
    said = one_line(" ".join([str(error), *getattr(error, "__notes__", [])])) or type(error).__name__
    if type(error).__name__ == "IORegistryError":
        encoding, place = (re.search(pattern, said) for pattern in (_ENCODING, _PLACE))
        where = f" at {place[2].rstrip('/')}/{place[1]}" if place else ""
        found = " ".join(encoding.groups()) if encoding else said
        return (
            f"expected a file that the installed anndata {_version()} reads, found the encoding {found!r}{where}, of a "
            "newer one if it is not damaged; update anndata: pip install --upgrade anndata"
        )
    return f"expected an intact .h5ad file, found: {said}; obtain the file again"


def _version() -> str:
    from importlib.metadata import version

    return version("anndata")


def check_header(path: Path) -> None:
    """Hold an HDF5 file's header against :data:`stbench.reading.ARRAYS` and itself; no array is read.

    Raises:
        OSError: no file, no HDF5 file, or arrays that take more memory than the limit.
        ValueError: arrays that lie in other files, or parts of a sparse matrix that do not fit each other.
    """
    import h5py

    check_regular(path)
    with h5py.File(path) as file:
        total = 0
        for name, found in _objects(file):
            if isinstance(found, h5py.Dataset):
                _check_own(name, found)
                total += bytes_of(found)
            elif found.attrs.get("encoding-type", found.attrs.get("h5sparse_format")) in (*_SPARSE, "csr", "csc"):
                _check_parts(name, found)
        ARRAYS.check(total, "arrays")


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to read single arrays of; raises what :func:`check_header` raises."""
    import h5py

    check_header(path)
    with h5py.File(path) as file:
        yield file


def bytes_of(dataset: h5py.Dataset) -> int:
    """Memory that all of an array takes, as its header declares it; texts count as pointers."""
    return math.prod(dataset.shape or (1,)) * int(dataset.dtype.itemsize)


def _objects(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Every group and array; links within the file are followed, each group once."""
    import h5py

    left, seen = [("", file, 0)], {h5py.h5o.get_info(file.id).addr}
    while left:
        place, group, depth = left.pop()
        if depth > _DEEPEST:
            raise ValueError(f"groups nested more than {_DEEPEST} deep at {place[:80]}")
        for key in group:
            name = f"{place}/{key}"
            if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
                raise ValueError(f"a link to another file at {name}")
            found = group[key]
            yield name, found
            if isinstance(found, h5py.Group) and (address := h5py.h5o.get_info(found.id).addr) not in seen:
                seen.add(address)
                left.append((name, found, depth + 1))


def _check_own(name: str, dataset: h5py.Dataset) -> None:
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"an array whose numbers lie in another file at {name}")


def _check_parts(name: str, group: h5py.Group) -> None:
    """The shape is allocated before the parts are read, so it is held against them first."""
    kind = str(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format")))
    shape = [int(n) for n in group.attrs.get("shape", group.attrs.get("h5sparse_shape", ()))]
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"a sparse matrix of shape {shape} at {name}")
    data, indices, indptr = (group[part].shape for part in ("data", "indices", "indptr"))
    major = shape[0] if kind.startswith("csr") else shape[1]
    if data != indices or indptr != (major + 1,):
        found = f"data {data}, indices {indices}, indptr {indptr}"
        raise ValueError(f"{found} of a {kind.removesuffix('_matrix')} matrix of shape {tuple(shape)} at {name}")


def _check_aligned(adata: AnnData) -> None:
    """Every sparse array of an AnnData: subsetting one with an index that lies outside corrupts the memory."""
    held = {"X": adata.X} | ({"raw.X": adata.raw.X} if adata.raw is not None else {})
    for place in _ALIGNED:
        held |= {f"{place}[{name!r}]": value for name, value in getattr(adata, place).items()}
    for name, value in held.items():
        if issparse(value):
            check_sparse(value, name)
