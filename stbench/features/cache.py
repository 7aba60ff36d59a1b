"""Arrays on disk under the hash of what they were computed from; damaged entries are rebuilt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from stbench.errors import DataError, SettingError
from stbench.features.half import StoredArray, was_clipped
from stbench.files import CHOOSE_CACHE, whole
from stbench.filling import filling, there
from stbench.reporting import SILENT, Reporter

_NAME = "features"
_CHECKSUM = "sha256"
_SHOWN = 16  # digits of a key in messages


def cached(directory: Path, key: str, compute: Callable[[], StoredArray], reporter: Reporter = SILENT) -> StoredArray:
    """Read an entry, or compute and store it. Of several processes that miss the same entry one computes it.

    Reading asks for no lock and writes nothing: a cache that holds the entry may be read-only, or somebody else's.

    Args:
        directory: folder of the cache, made when absent.
        key: hash of everything the array depends on, in hexadecimal digits.
        compute: makes the array.
        reporter: is told of a damaged entry, and of a long wait for another process.

    Returns:
        The array, the same type and bits from a miss and from a hit.

    Raises:
        SettingError: the entry is not there, and the folder cannot be written.
    """
    path = directory / f"{key}.safetensors"
    stored = _read_or_report(path, reporter)
    if stored is not None:
        return stored
    with filling(directory, key, f"features {key[:_SHOWN]}", reporter):
        stored = _read_or_report(path, SILENT)  # another process may have made it meanwhile
        return _stored(path, compute()) if stored is None else stored


def _stored(path: Path, computed: StoredArray) -> StoredArray:
    array = cast("StoredArray", np.ascontiguousarray(computed))
    _write(path, array)
    return array


def _read_or_report(path: Path, reporter: Reporter) -> StoredArray | None:
    if not there(path):
        return None
    try:
        return _read(path)
    except DataError as error:
        reporter.info(f"{error}; it is rebuilt")
        return None


def _read(path: Path) -> StoredArray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            expected = (file.metadata() or {}).get(_CHECKSUM)
            array: StoredArray = file.get_tensor(_NAME)
    except (OSError, SafetensorError, ValueError, TypeError) as error:  # what a damaged header can lead to
        raise DataError(f"feature cache entry {path} is damaged ({error})") from error
    if _checksum(array) != expected:
        raise DataError(f"feature cache entry {path} is damaged (its checksum differs)")
    if was_clipped(array):
        raise DataError(f"feature cache entry {path} was clipped to the range of half precision")
    return array


def _write(path: Path, array: StoredArray) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with whole(path, hint=CHOOSE_CACHE, also=(SafetensorError,), error=SettingError) as part:
        save_file({_NAME: array}, str(part), metadata={_CHECKSUM: _checksum(array)})


def _checksum(array: StoredArray) -> str:
    return hashlib.sha256(repr((array.shape, array.dtype.str)).encode() + array.tobytes()).hexdigest()
