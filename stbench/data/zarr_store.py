"""Zarr stores of others: metadata are held against limits and a list of codecs before an array is read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from stbench.data.hdf5 import intact
from stbench.reading import ARRAYS, Limit, check_regular, read_json
from stbench.text import first_line, named

_V3, _V2 = "zarr.json", (".zarray", ".zgroup", ".zattrs")
# Those that unpack numbers and texts; the others of numcodecs hold Python objects, or run code of packages.
_CODECS = {"bytes", "transpose", "vlen-utf8", "vlen-bytes", "blosc", "gzip", "zlib", "zstd", "lz4", "bz2", "lzma"}
_CODECS |= {"crc32c", "crc32", "adler32", "sharding_indexed", "shuffle", "delta"}
_POINTER = 16  # bytes of a text in memory, without its letters


def intact_store(path: Path) -> AbstractContextManager[None]:
    """Whatever goes wrong with a store in the block is a DataError that names it."""
    return intact(path, _wrong)


def _wrong(error: Exception) -> str:
    said = first_line(error) if isinstance(error, (OSError, ValueError)) else named(error)
    return f"expected an intact SpatialData store, found: {said}; obtain it again"


def is_node(place: Path) -> bool:
    """Whether a folder is a group or an array of zarr, of version 2 or 3."""
    return any((place / name).is_file() for name in (_V3, *_V2))


def attributes(place: Path) -> dict[str, Any]:
    """Attributes of a group or an array; raises OSError where its metadata are gone, ValueError for damaged ones."""
    if (place / _V3).exists():
        return _object(_parsed(place / _V3).get("attributes", {}), place)
    if not is_node(place):
        raise OSError(f"no {_V3}, .zgroup or .zarray in {place.name}/")
    return _parsed(place / ".zattrs") if (place / ".zattrs").exists() else {}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return _object(read_json(path), path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {first_line(error)}") from error


def _object(found: Any, path: Path) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} in place of a JSON object in {path.name}")
    return found


def declared(place: Path) -> tuple[tuple[int, ...], str]:
    """Shape and type of an array as its metadata say them; raises as :func:`attributes` does."""
    v3 = (place / _V3).exists()
    said = _parsed(place / (_V3 if v3 else ".zarray"))
    return tuple(said["shape"]), str(said["data_type" if v3 else "dtype"])


def open_array(place: Path, limit: Limit = ARRAYS) -> Any:
    """A zarr.Array to read from; nothing of it is read.

    Args:
        place: its folder.
        limit: how much one of its chunks may take.

    Raises:
        OSError: no metadata, or a chunk of more than the limit.
        ValueError: a codec that is not on the list, or metadata that do not say what an array is.
    """
    import zarr

    limit.check(_sizes(place)[1], f"a chunk of {place.name}")
    return zarr.open_array(place, mode="r")


def open_group(place: Path) -> Any:
    """A zarr.Group to read from, held against what :func:`check_tree` says; raises that."""
    import zarr

    check_tree(place)
    return zarr.open_group(place, mode="r", use_consolidated=False)


def check_tree(place: Path) -> None:
    """Hold the arrays of a group, or an array, against :data:`stbench.reading.ARRAYS`; none is read.

    Raises:
        OSError: arrays that take more memory than the limit, a link, or what is no file.
        ValueError: a codec that is not on the list, or metadata that do not say what an array is.
    """
    total = 0
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            if (inner := Path(folder, name)).is_symlink():
                raise OSError(f"a link at {inner.relative_to(place)}")
            if name in files:
                check_regular(inner)
        if _is_array(Path(folder)):
            total += max(_sizes(Path(folder)))
            ARRAYS.check(total, "arrays")


def _is_array(place: Path) -> bool:
    if (place / _V3).is_file():
        return _parsed(place / _V3).get("node_type") == "array"
    return (place / ".zarray").is_file()


def _sizes(place: Path) -> tuple[int, int]:
    """Bytes of an array and of one of its chunks, as its metadata declare them, whose codecs are checked."""
    if (place / _V3).exists():
        said = _parsed(place / _V3)
        codecs, chunk = said["codecs"], said["chunk_grid"]["configuration"]["chunk_shape"]
        item = _item(said["data_type"])
    else:
        said = _parsed(place / ".zarray")
        codecs, chunk = [said.get("compressor"), *(said.get("filters") or [])], said["chunks"]
        item = np.dtype(said["dtype"]).itemsize
    if unknown := sorted({name for name in _codecs(codecs) if name.removeprefix("numcodecs.") not in _CODECS}):
        raise ValueError(f"the codec {unknown[0]!r} of {place.name}, which is not read")
    sides = [*said["shape"], *chunk]
    if len(said["shape"]) != len(chunk) or not all(isinstance(side, int) and side >= 0 for side in sides):
        raise ValueError(f"the shape {said['shape']} in chunks of {chunk} at {place.name}")
    return math.prod(said["shape"]) * item, math.prod(chunk) * item


def _item(kind: Any) -> int:
    if isinstance(kind, Mapping):
        return int(kind.get("configuration", {}).get("length_bytes", _POINTER))
    return _POINTER if kind in ("string", "bytes", "variable_length_bytes") else np.dtype(kind).itemsize


def _codecs(found: Any) -> Iterator[str]:
    """Names of codecs, also of those inside others."""
    for one in found if isinstance(found, list) else []:
        if isinstance(one, Mapping):
            yield str(one.get("name", one.get("id")))
            inside = one.get("configuration", {})
            yield from (name for key in ("codecs", "index_codecs") for name in _codecs(inside.get(key)))
        elif one is not None:
            yield str(one)


def chunk_file(place: Path, array: Any, chunk: tuple[int, ...]) -> Path:
    """Where a chunk of an array, or the shard it would be, lies; what is absent reads as zeros without a word."""
    return place / array.metadata.encode_chunk_key(chunk)


def check_written(place: Path) -> None:
    """Raise ValueError where numbers of a matrix, dense or sparse, are in no chunk: they would be read as zeros.

    A chunk of zeros is not written either; of those that a sparse matrix keeps, none is one.
    """
    place = place / "data" if is_node(place / "data") else place
    array = open_array(place)
    steps = array.shards or array.chunks
    for chunk in np.ndindex(*(math.ceil(side / step) for side, step in zip(array.shape, steps, strict=True))):
        if not (file := chunk_file(place, array, chunk)).is_file():
            raise ValueError(f"no chunk {file.relative_to(place.parent)}, whose numbers would be read as zeros")
