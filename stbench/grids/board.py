"""The state of a grid while it runs: what a live table shows, without a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stbench.evaluation.summaries import mean_of
from stbench.grids.cells import Cell, Outcome
from stbench.grids.progress import seconds_left
from stbench.text import duration

WAITING = "."


@dataclass
class Board:
    """Keeps count of cells.

    Args:
        cells: every cell shown, in the order of rows and columns.
        earlier: outcomes of cells finished in earlier sessions.
        jobs: number of workers.
        clock: seconds that only grow.
    """

    cells: Sequence[Cell]
    earlier: dict[Cell, Outcome]
    jobs: int = 1
    clock: Callable[[], float] = time.monotonic
    _ended: dict[Cell, Outcome] = field(default_factory=dict)
    _began: dict[Cell, float] = field(default_factory=dict)
    _doing: dict[Cell, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended = dict(self.earlier)

    @property
    def rows(self) -> list[str]:
        """Names of the rows, in order."""
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(dict.fromkeys(cell.column for cell in self.cells))

    def started(self, cell: Cell) -> None:
        """A worker took the cell."""
        self._began[cell] = self.clock()
        self._doing[cell] = "begins"

    def progressed(self, cell: Cell, text: str) -> None:
        """What the cell is doing, in a few words."""
        self._doing[cell] = text

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        """The cell ended."""
        self._began.pop(cell, None)
        self._doing.pop(cell, None)
        self._ended[cell] = outcome

    def text(self, row: str, column: str) -> str:
        """A place of the table: mean score of the seeds that are done, and how many of them.

        ``.`` waits, ``...`` runs, ``x`` failed, ``-`` was refused, ``done`` has no score.
        """
        here = [cell for cell in self.cells if (cell.row, cell.column) == (row, column)]
        ended = [self._ended[cell] for cell in here if cell in self._ended]
        done = [outcome for outcome in ended if outcome.status == "done"]
        parts = [_score(done)] if done else []
        parts += [f"{len(done)}/{len(here)}"] if done and len(here) > 1 else []
        parts += [_mark(ended, "failed", "x"), _mark(ended, "refused", "-")]
        parts += ["..."] if any(cell in self._began for cell in here) else []
        return " ".join(part for part in parts if part) or (WAITING if here else "")

    def lines(self) -> list[list[str]]:
        """The table: name of the row, then its places."""
        return [[row, *(self.text(row, column) for column in self.columns)] for row in self.rows]

    def doing(self) -> list[str]:
        """One line per cell at work."""
        return [f"{cell.folder}: {text}, {self._spent(cell):.0f} s" for cell, text in self._doing.items()]

    def count(self) -> str:
        """``12 of 48 cells, 2 failed, about 14 min left``."""
        said = [f"{len(self._ended)} of {len(self.cells)} cells"]
        failed = sum(outcome.status == "failed" for outcome in self._ended.values())
        said += [f"{failed} failed"] if failed else []
        left = self._left()
        said += [f"{duration(left)} left"] if left is not None else []
        return ", ".join(said)

    def _spent(self, cell: Cell) -> float:
        return self.clock() - self._began[cell]

    def _left(self) -> float | None:
        waiting = [cell for cell in self.cells if cell not in self._ended and cell not in self._began]
        running = {cell: self._spent(cell) for cell in self._began}
        seconds = {cell: outcome.seconds for cell, outcome in self._ended.items() if outcome.status == "done"}
        return seconds_left(waiting, running, seconds, self.jobs) if waiting or running else None


def _score(done: Sequence[Outcome]) -> str:
    mean = mean_of([outcome.score for outcome in done])
    return "done" if mean is None else f"{mean:.3f}"


def _mark(ended: Sequence[Outcome], status: str, mark: str) -> str:
    n = sum(outcome.status == status for outcome in ended)
    return mark if n == 1 else f"{n}{mark}" if n else ""
