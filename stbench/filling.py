"""Who fills an entry of a cache that several processes, accounts or machines share."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock

from stbench.errors import SettingError
from stbench.files import CHOOSE_CACHE, PART, remove
from stbench.locks import wait_for
from stbench.reporting import Reporter


@contextmanager
def filling(folder: Path, name: str, what: str, reporter: Reporter) -> Iterator[None]:
    """Be the only process that makes an entry; look for the entry before, and again inside.

    Entries appear whole, so they are read without a lock: a cache that is complete may be read-only or somebody else's.
    For the same reason a lock that another account keeps from us is done without: the worst is to make an entry twice.
    What a process that was killed left of the entry is removed.

    Args:
        folder: where the entry lies, made when absent.
        name: of the entry; its lock is ``<name>.lock``.
        what: the entry in words, such as ``slide P01S1``.
        reporter: is told after 10 s that another process is waited for.

    Raises:
        SettingError: the folder cannot be written.
    """
    lock = _lock(folder, name, what, reporter)
    try:
        if lock is not None:
            for left in folder.glob(f".{glob.escape(name)}.*{PART}*"):
                remove(left)
        yield
    finally:
        if lock is not None:
            lock.release()


def _lock(folder: Path, name: str, what: str, reporter: Reporter) -> BaseFileLock | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return wait_for(folder / f"{name}.lock", f"making {what}", reporter)
    except OSError as error:
        if isinstance(error, PermissionError) and _writable(folder):
            return None
        raise SettingError(f"expected to write {what} into {folder}, found: {error}; {CHOOSE_CACHE}") from error


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def there(path: Path) -> bool:
    """Whether an entry is there; in a folder that is closed to us it is not."""
    try:
        return path.exists()
    except PermissionError:
        return False
