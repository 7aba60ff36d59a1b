"""Files that appear whole or not at all: a temporary name beside the target, fsync, rename; and their hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stbench.errors import StbenchError, UserError
from stbench.text import first_line

PART = ".part"
HINT = "free some space or choose another place"
CHOOSE_CACHE = "choose another cache folder with STBENCH_CACHE"


@contextmanager
def whole(
    path: Path, *, hint: str = HINT, also: tuple[type[Exception], ...] = (), error: type[StbenchError] = UserError
) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the name of ``path`` when the block ends well, else it is removed.

    Args:
        path: file or folder to make or replace; its parent is made when absent.
        hint: what the user can do when it cannot be written.
        also: exceptions that a library raises in place of OSError.
        error: what a write that fails ends in.

    Yields:
        A path with the ending of ``path`` (libraries choose formats by it); nothing is there yet.

    Raises:
        UserError: (or ``error``) the disk is full, or the place cannot be written; in one line.
    """
    failures: tuple[type[Exception], ...] = (OSError, *also)
    part = path.with_name(f".{path.stem}.{os.getpid()}{PART}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _put(part, path)
    except failures as problem:
        raise error(f"expected to write {path}, found: {first_line(problem)}; {hint}") from problem
    finally:
        remove(part)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it takes the name of ``path`` when the block ends well, else it is removed.

    Raises:
        UserError: ``path`` holds something already, or cannot be written.
    """
    check_unused(path)
    with whole(path.resolve(), hint="choose another folder") as part:
        part.mkdir()
        yield part


def check_unused(folder: Path) -> None:
    """Raise UserError where a folder has no name of its own, or holds something already."""
    if not folder.name:
        raise UserError(f"expected the name of a new or empty folder, found {str(folder)!r}; choose one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"expected a new or empty folder, found {folder} in use; choose another")


def write_text(path: Path, text: str, *, hint: str = HINT, error: type[StbenchError] = UserError) -> None:
    """Write a text file as a whole; raises what :func:`whole` raises."""
    with whole(path, hint=hint, error=error) as part:
        part.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing there, or nothing that can be removed, is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _put(part: Path, path: Path) -> None:
    """Give ``part`` the name of ``path``, on the disk and not only in the memory of the system."""
    if part.is_dir():
        for file in part.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.is_dir():
            shutil.rmtree(path)
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        if not path.is_dir():
            os.fsync(handle)
        else:
            with suppress(OSError):  # some systems cannot for folders
                os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, 64 hexadecimal digits; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
