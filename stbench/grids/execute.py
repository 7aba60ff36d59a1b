"""Carries out a grid: in this process, or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from stbench.errors import UserError
from stbench.grids.bench import Bench
from stbench.grids.grid import Cell, Failures, Listener, Outcome, Source, heaviest_first, records_of
from stbench.grids.progress import CellReporter

LOCK = ".lock"


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Keep other processes from carrying out a grid in the same folder.

    Raises:
        UserError: another one is at work there, or the folder cannot be written.
    """
    lock = FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"another process is at work in {out}; wait for it, or choose another --out") from error
    except OSError as error:
        raise UserError(f"expected to write to {out}, found: {error}; choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def execute(cells: Sequence[Cell], source: Source, out: Path, jobs: int, listener: Listener) -> dict[str, Outcome]:
    """Run cells to their ends, the heaviest first.

    A cell that fails, for whatever reason, is noted and the others go on. An interruption loses the cells in progress
    at most, and even they go on from their last checkpoint.

    Args:
        cells: what to run; finished ones have been left out.
        source: the cohort.
        out: folder of the grid; it exists.
        jobs: 1 runs everything in this process, more start as many workers.
        listener: is told what happens.

    Returns:
        Folder of every cell to its outcome.
    """
    book = _Book(out, listener)
    ordered = heaviest_first(cells)
    if jobs > 1 and len(ordered) > 1:
        from stbench.grids.pool import run_pool

        run_pool(ordered, source, out, min(jobs, len(ordered)), book)
        return book.outcomes
    bench = Bench(source, out)
    for cell in ordered:
        book.started(cell)
        book.finished(cell, bench.run(cell, CellReporter(partial(book.progressed, cell), partial(book.said, cell))))
    return book.outcomes


class _Book:
    """Notes how cells end before it tells anybody."""

    def __init__(self, out: Path, listener: Listener) -> None:
        self._out, self._failures = out, Failures(out)
        self.started, self.progressed, self.said = listener.started, listener.progressed, listener.said
        self._finished = listener.finished
        self.outcomes: dict[str, Outcome] = {}

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        self.outcomes[cell.folder] = outcome
        on_record = any(record.reason == outcome.reason for record in records_of(self._out, cell))
        self._failures.note(cell, outcome.reason if outcome.status == "failed" and not on_record else None)
        self._finished(cell, outcome)
