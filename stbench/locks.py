"""Locks between processes, of one machine or of several that share a disk."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from stbench.errors import UserError
from stbench.process import uninterrupted
from stbench.reporting import SILENT, Reporter

SAYS_AFTER_S = 10.0
_SOFT = ".soft"
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})


def wait_for(path: Path, doing: str, reporter: Reporter = SILENT) -> BaseFileLock:
    """Hold a lock, however long another process holds it; after 10 s a line says what is waited for.

    On a disk without locks (some network file systems) a file that only one process can make stands in for it.

    Args:
        path: the lock file; its folder exists.
        doing: what the other process is at, for the line.
        reporter: gets the line.

    Returns:
        The lock; its holder releases it.

    Raises:
        OSError: the lock file cannot be made or opened.
    """
    lock = taken(path, SAYS_AFTER_S)
    if lock is None:
        reporter.info(f"waiting for another process that is {doing}: it holds {_shown(path)}; Ctrl-C ends the wait")
        lock = taken(path, -1)
    assert lock is not None  # it was waited for
    return lock


@contextmanager
def sole(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock that nobody else holds; its file goes with it.

    Raises:
        UserError: another process holds it.
        OSError: the lock file cannot be made or opened.
    """
    lock = None
    try:
        with uninterrupted():  # what a signal raises between making the file and knowing of it would leave it there
            lock = taken(path, 0)
        if lock is None:
            raise UserError(f"{refusal} (it holds {_shown(path)})")
        yield
    finally:
        if lock is not None:
            with uninterrupted():
                _remove(path, lock)


def _remove(path: Path, lock: BaseFileLock) -> None:
    with suppress(OSError):
        path.unlink()  # still held: whoever opened it meanwhile finds that it has no name, and begins again
    lock.release()


def taken(path: Path, patience_s: float) -> BaseFileLock | None:
    """A lock, held; None where another process keeps it longer than we wait, which is for ever where that is negative.

    Raises:
        OSError: the lock file cannot be made or opened.
    """
    try:
        return _acquired(FileLock(path), patience_s)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return _acquired(SoftFileLock(_soft(path)), patience_s)


def _acquired(lock: BaseFileLock, patience_s: float) -> BaseFileLock | None:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flock not supported")  # then filelock makes such a file itself
            lock.acquire(timeout=patience_s)
    except Timeout:
        return None
    return lock


def _soft(path: Path) -> Path:
    return path.with_name(f"{path.name}{_SOFT}")


def _shown(path: Path) -> str:
    """The file that is held; one that stands in for a lock can outlive its process."""
    soft = _soft(path)
    return f"{soft}, to be removed by hand where that process has died" if soft.exists() else str(path)
