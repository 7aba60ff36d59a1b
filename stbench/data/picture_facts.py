"""What is remembered of the file of a picture while a process runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from stbench.data.raster import open_raster
from stbench.data.raster.endings import parts
from stbench.errors import DataError
from stbench.reading import UNREADABLE, opened
from stbench.text import one_line

_T = TypeVar("_T")


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, unpacked where its name ends in .gz, and of further files that hold its pixels.

    Raises:
        DataError: one of them cannot be read.
    """
    own = stated(_digest_of, path)
    others = [[_beside(part, path), stated(_digest_of, part)] for part in parts(path)]
    return hashlib.sha256(json.dumps([own, *others]).encode()).hexdigest() if others else own


def _beside(part: Path, path: Path) -> str:
    """Name of a part whatever the slide is called."""
    inside = part.relative_to(path.parent)
    return inside.relative_to(path.stem).as_posix() if inside.parts[0] == path.stem else inside.as_posix()


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
