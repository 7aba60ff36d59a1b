"""Carries out a grid: this process builds tasks and scores, workers fit and predict."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from stbench.errors import StbenchError
from stbench.evaluation.record import Record
from stbench.evaluation.run import Prepared, conclude
from stbench.evaluation.worker import Report
from stbench.grids.cells import Cell, Failures, Listener, Outcome, heaviest_first, outcome_of, record_of
from stbench.grids.crew import Crew, Worker
from stbench.grids.desk import Desk
from stbench.grids.progress import CellReporter
from stbench.text import named, one_line

ERRORS = "errors.log"


def execute(cells: Sequence[Cell], desk: Desk, out: Path, jobs: int, listener: Listener) -> dict[str, Outcome]:
    """Carry out cells in ``jobs`` workers that share the cores.

    Whatever goes wrong in a cell ends that one: the others go on. An interruption loses the cells in progress at most,
    and even they go on from their last checkpoint.

    Args:
        cells: what to run; finished ones have been left out.
        desk: builds their tasks.
        out: folder of the grid; it exists.
        jobs: number of workers.
        listener: is told what happens.

    Returns:
        Folder of every cell to its outcome.
    """
    return _Engine(desk, out, min(jobs, max(len(cells), 1)), listener).run(heaviest_first(cells))


def reporter_of(cell: Cell, listener: Listener) -> CellReporter:
    """Tells a listener what a cell does and says."""
    return CellReporter(partial(listener.progressed, cell), partial(listener.said, cell))


class _Engine:
    def __init__(self, desk: Desk, out: Path, jobs: int, listener: Listener) -> None:
        self._desk, self._out, self._listener = desk, out, listener
        self._crew, self._failures = Crew(out, jobs), Failures(out)
        self._running: dict[int, tuple[Cell, Prepared]] = {}
        self._began: dict[Cell, float] = {}
        self._outcomes: dict[str, Outcome] = {}

    def run(self, cells: Sequence[Cell]) -> dict[str, Outcome]:
        waiting = deque(cells)
        try:
            while waiting or self._running:
                while waiting and self._crew.has_room:
                    self._start(waiting.popleft())
                if self._running:
                    self._listen()
        finally:
            self._crew.stop()
        return self._outcomes

    def _start(self, cell: Cell) -> None:
        self._began[cell] = time.perf_counter()
        self._listener.started(cell)
        try:
            found = self._desk.prepare(cell, self._out, reporter_of(cell, self._listener))
            if isinstance(found, Record):
                self._ended(cell, outcome_of(found))
            else:
                worker = self._crew.hand(cell.task.split, found.job)
                self._running[worker.number] = (cell, found)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a full disk or foreign code ends no other cell
            self._broke(cell, error)

    def _listen(self) -> None:
        for worker, kind, said in self._crew.news():
            if kind == "progressed":
                self._listener.progressed(self._running[worker.number][0], said)
            elif kind == "said":
                self._listener.said(self._running[worker.number][0], said)
            else:
                self._conclude(worker, said if kind == "finished" else Report("failed", said))

    def _conclude(self, worker: Worker, report: Report) -> None:
        cell, prepared = self._running.pop(worker.number)
        try:
            self._ended(cell, outcome_of(conclude(prepared, report)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  as above
            self._broke(cell, error)

    def _broke(self, cell: Cell, error: BaseException) -> None:
        """A cell ends without a record."""
        if isinstance(error, StbenchError):
            self._ended(cell, Outcome("failed", one_line(error), misused=True))
            return
        with suppress(OSError), (self._out / ERRORS).open("a", encoding="utf-8") as file:
            file.write(f"{cell.folder}\n{traceback.format_exc()}\n")
        self._ended(cell, Outcome("failed", named(error)))

    def _ended(self, cell: Cell, outcome: Outcome) -> None:
        """Note how a cell ended before anybody is told."""
        outcome = replace(outcome, seconds=round(time.perf_counter() - self._began[cell], 3))
        self._outcomes[cell.folder] = outcome
        record = record_of(self._out, cell)
        on_record = record is not None and record.reason == outcome.reason
        with suppress(StbenchError):
            self._failures.note(cell, outcome.reason if outcome.status == "failed" and not on_record else None)
        self._listener.finished(cell, outcome)
