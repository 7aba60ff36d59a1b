"""Who may work in the folder of a grid: one command at a time, or any number of single cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from stbench.errors import UserError

LOCK = ".lock"
_CELLS = ".cells"
_PATIENCE_S = 5.0  # a process whose parent died takes a moment to end
_HINT = "wait for it, or choose another --out"


@contextmanager
def only_one(out: Path, patience_s: float = 0) -> Iterator[None]:
    """Keep other processes from working in a folder; it is made when absent.

    Args:
        out: the folder.
        patience_s: how long to wait for another one to leave.

    Raises:
        UserError: another one is at work there, or the folder cannot be written.
    """
    lock = FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=patience_s)
    except Timeout as error:
        raise UserError(f"another process is at work in {out}; {_HINT}") from error
    except OSError as error:
        raise _unlockable(out, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def among_others(out: Path, cell: str) -> Iterator[None]:
    """Share the folder of a grid with other single cells; the cell itself is nobody else's.

    Args:
        out: folder of the grid; it exists.
        cell: folder of the cell below it.

    Raises:
        UserError: a command holds the whole folder, or another process works on the cell.
    """
    own = out / _CELLS / cell.replace("/", "+")  # not in the cell's own folder, which is the run's alone
    with _shared(out), only_one(own, _PATIENCE_S):
        yield


@contextmanager
def _shared(out: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # a system without shared locks: the cell's own lock has to do
        yield
        return
    try:
        file = (out / LOCK).open("a")
    except OSError as error:
        raise _unlockable(out, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is at work in {out}; {_HINT}") from error
        except OSError as error:
            raise _unlockable(out, error) from error
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def _unlockable(out: Path, error: OSError) -> UserError:
    return UserError(f"expected to lock and write to {out}, found: {error}; choose another --out")
