"""Sizes and hashes of what a run keeps in formats that hold none of their own: fitted method and predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stbench.errors import DataError
from stbench.files import CHANGED, read_sealed, sha256_of, write_sealed
from stbench.text import named

FILE_NAME = "seals.json"


def seal_file(folder: Path, path: Path) -> None:
    """Keep what a file of a run folder is, once it is there.

    Args:
        folder: the run folder.
        path: the file, in the folder or below it.

    Raises:
        UserError: the seal cannot be written.
    """
    write_sealed(folder / FILE_NAME, {**_kept(folder), _name(folder, path): _seal_of(path)})


def check_file(folder: Path, path: Path, *, must: bool = False) -> None:
    """Compare a file with its seal.

    Args:
        folder: the run folder.
        path: the file.
        must: whether a file without a seal is refused; folders of before there were seals have none.

    Raises:
        DataError: the file cannot be read, or is not what was sealed; the message is what was found.
    """
    kept = _kept(folder).get(_name(folder, path))
    if kept is None and not must:
        return
    try:
        found = _seal_of(path)
    except OSError as error:
        raise DataError(named(error)) from error
    if kept is None:
        raise DataError(f"no hash of it in {FILE_NAME}")
    if found != kept:
        raise DataError(CHANGED)


def _kept(folder: Path) -> dict[str, Any]:
    """Seals by file; none where they are damaged: what they are of is made again."""
    try:
        return read_sealed(folder / FILE_NAME)
    except DataError:
        return {}


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _seal_of(path: Path) -> dict[str, int | str]:
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}
