"""What takes long to find in files of slides, kept in the cache under a hash of their content."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError, UserError
from stbench.files import check_seal, seal, whole
from stbench.filling import there
from stbench.reporting import Reporter
from stbench.text import first_line

FOLDER = "parsed"
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Place:
    folder: Path
    reporter: Reporter


_PLACE: ContextVar[_Place | None] = ContextVar("place", default=None)


@contextmanager
def remembering(cache_dir: Path | None, reporter: Reporter) -> Iterator[None]:
    """A block in which :func:`remembered` looks into a cache, and writes to it.

    Args:
        cache_dir: folder of the cache; None remembers nothing.
        reporter: is told of damaged entries.
    """
    token = _PLACE.set(None if cache_dir is None else _Place(cache_dir / FOLDER, reporter))
    try:
        yield
    finally:
        _PLACE.reset(token)


def remembered(about: object, make: Callable[[], Arrays]) -> Arrays:
    """Arrays that were made of something before, or are made now and kept.

    A cache that cannot be written is done without.

    Args:
        about: everything the arrays depend on, as JSON: the hash of a file rather than its name and time.
        make: makes them; what it raises is raised, and nothing is kept.

    Returns:
        The arrays by name, the same bits and types from either.
    """
    place = _PLACE.get()
    if place is None:
        return make()
    path = place.folder / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()}.npz"
    found = _read_or_report(path, place.reporter)
    return _kept(path, make()) if found is None else found


def _kept(path: Path, made: Arrays) -> Arrays:
    with suppress(UserError), whole(path) as part:
        np.savez(part, allow_pickle=False, **made)
        seal(part)
    return made


def _read_or_report(path: Path, reporter: Reporter) -> Arrays | None:
    if not there(path):
        return None
    try:
        check_seal(path)
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (DataError, OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reporter.info(f"cache entry {path} is damaged ({first_line(error)}); it is rebuilt")
        return None
