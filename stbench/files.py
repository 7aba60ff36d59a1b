"""Files that appear whole or not at all: a temporary name beside the target, fsync, rename; their hashes and seals."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stbench.errors import DataError, StbenchError, UserError
from stbench.locks import sole
from stbench.reading import read_json
from stbench.text import first_line, named

PART = ".part"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # no room for what is written
_PARTS = re.compile(rf"\..*\.(\d+)\.\d+{re.escape(PART)}(\..*)?", re.DOTALL)  # what :func:`whole` writes to
SEAL, _SEALED = "seal", "sha256 of the rest: "
_MARK = b"\nsha256 of everything before this line: "
_CHUNK = 2**20
CHANGED = "other content than was written, by its hash"
HINT = "free some space or choose another place"
CHOOSE_CACHE = "choose another cache folder with STBENCH_CACHE"


_LITTER = {"__macosx", "thumbs.db", "desktop.ini", "icon\r", "@eadir", "lost+found", "$recycle.bin"}


def visible(paths: Iterable[Path]) -> Iterator[Path]:
    """Paths without those that begin with a dot (resource forks of macOS, say) or that a system leaves in folders."""
    return (path for path in paths if not path.name.startswith(".") and path.name.lower() not in _LITTER)


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
    own = f"{os.getpid()}.{secrets.randbits(48)}"  # nobody else's, on no machine
    part = path.with_name(f".{path.stem}.{own}{PART}{path.suffix}")
    with _in_one_line(path, hint, (OSError, *also), error):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _taking_its_name(part, path):
            yield part


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it takes the name of ``path`` when the block ends well, else it is removed.

    Until then it is called ``.<name>.part``; what a process that was killed left under this name is removed.

    Raises:
        UserError: ``path`` holds something already, cannot be written, or another process is writing it.
    """
    check_unused(path)
    target = path.resolve()
    part, lock = target.with_name(f".{target.name}{PART}"), target.with_name(f".{target.name}.lock")
    refusal = f"another process is writing {path}; wait for it, or choose another folder"
    with _in_one_line(path, "choose another folder", (OSError,), UserError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with sole(lock, refusal):
            check_unused(path)  # the other one may have ended just now
            remove(part)
            with _taking_its_name(part, target):
                part.mkdir()
                yield part


@contextmanager
def _in_one_line(
    path: Path, hint: str, failures: tuple[type[Exception], ...], error: type[StbenchError]
) -> Iterator[None]:
    try:
        yield
    except failures as problem:
        raise error(f"expected to write {path}, found: {first_line(problem)}; {hint}") from problem


@contextmanager
def _taking_its_name(part: Path, path: Path) -> Iterator[None]:
    try:
        yield
        _put(part, path)
    finally:
        remove(part)


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


def is_part(path: Path) -> bool:
    """Whether a file or folder is what :func:`whole` writes to, by its name."""
    return _PARTS.fullmatch(path.name) is not None


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed left half written in a folder, not in those below it."""
    from psutil import pid_exists

    for path in list(folder.iterdir()) if folder.is_dir() else []:
        match = _PARTS.fullmatch(path.name)
        if match is not None and not pid_exists(int(match[1][:9])):
            remove(path)


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


def write_sealed(path: Path, content: Mapping[str, Any], *, hint: str = HINT) -> None:
    """Write an object in JSON as a whole, with the hash of all that it says; raises what :func:`whole` raises."""
    said = json.loads(json.dumps(content, allow_nan=False))
    write_text(path, json.dumps({**said, SEAL: _seal_of(said)}, indent=1) + "\n", hint=hint)


def read_sealed(path: Path) -> dict[str, Any]:
    """What :func:`write_sealed` wrote, without the seal; files of before there were seals have none.

    Raises:
        DataError: it cannot be read, is no object in JSON, or is not what was written; the message is what was found.
    """
    try:
        said = read_json(path, strict=True)
    except (OSError, ValueError) as error:
        raise DataError(named(error)) from error
    if not isinstance(said, dict):
        raise DataError(f"JSON of a {type(said).__name__}, no object")
    seal = said.pop(SEAL, None)
    misnamed = any(isinstance(value, str) and value.startswith(_SEALED) for value in said.values())
    if misnamed or seal not in (None, _seal_of(said)):
        raise DataError(CHANGED)
    return said


def _seal_of(said: Mapping[str, Any]) -> str:
    return _SEALED + hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def seal(path: Path) -> None:
    """Append the hash of what a file holds; for formats whose readers pass over what follows the end."""
    digest = sha256_of(path)
    with path.open("ab") as file:
        file.write(_MARK + digest.encode())


def check_seal(path: Path) -> None:
    """Raise DataError, whose message is what was found, where a file is not what :func:`seal` left."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END) - len(_MARK) - 64
            file.seek(max(size, 0))
            mark = file.read()
            digest = hashlib.sha256()
            file.seek(0)
            for start in range(0, max(size, 0), _CHUNK):
                digest.update(file.read(min(_CHUNK, size - start)))
    except OSError as error:
        raise DataError(named(error)) from error
    if mark != _MARK + digest.hexdigest().encode():
        raise DataError(CHANGED)
