"""What is remembered of the file of a picture while a process runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from stbench.data.raster import open_raster
from stbench.errors import DataError
from stbench.reading import UNREADABLE, opened
from stbench.text import one_line

_T = TypeVar("_T")


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, unpacked where its name ends in .gz; raises DataError where it cannot be read."""
    return stated(_digest_of, path)


def is_mended(path: Path) -> bool:
    """Whether a picture is shown otherwise than before its colour model was looked at; raises as opening it does."""
    return stated(_mended_of, path)


def stated(look: Callable[[Path, int, int], _T], path: Path) -> _T:
    """What is remembered of a file; size and time of writing are part of the key, so one that was replaced is new."""
    try:
        stat = path.stat()
        return look(path, stat.st_size, stat.st_mtime_ns)
    except UNREADABLE as error:
        raise DataError(
            f"expected a picture at {path}, found: {one_line(str(error))}; obtain the file again"
        ) from error


@lru_cache(maxsize=1024)
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1024)
def _mended_of(path: Path, size: int, mtime_ns: int) -> bool:
    with open_raster(path) as raster:
        return raster.mended
