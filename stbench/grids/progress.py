"""What a cell says of itself while it runs, and how long the rest of a grid may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from stbench.evaluation.summaries import mean_of
from stbench.grids.cells import Cell
from stbench.reporting import Advance

_EVERY_S = 0.5


class CellReporter:
    """A reporter that turns progress into short texts, at most two a second.

    Args:
        progressed: is told e.g. ``training 340/1500``.
        said: is told messages.
    """

    def __init__(self, progressed: Callable[[str], None], said: Callable[[str], None]) -> None:
        self._progressed, self.info = progressed, said
        self._last = -_EVERY_S

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Advance]:
        done = 0

        def advance(steps: int = 1, *, note: str = "") -> None:
            nonlocal done
            done += steps
            now = time.monotonic()
            if now - self._last >= _EVERY_S:
                self._last = now
                self._progressed(f"{description} {done}/{total}")

        yield advance


def predicted_seconds(cell: Cell, seconds: dict[Cell, float]) -> float | None:
    """How long a cell may take, from cells that are done; None while nothing is known.

    The mean of its own row and column, else its row's seconds per weight, else everybody's.
    """
    same = [spent for other, spent in seconds.items() if (other.row, other.column) == (cell.row, cell.column)]
    if same:
        return mean_of(same)
    row = {other: spent for other, spent in seconds.items() if other.row == cell.row} or seconds
    weight = sum(other.weight for other in row)
    return cell.weight * sum(row.values()) / weight if weight else None


def seconds_left(
    waiting: Iterable[Cell], running: dict[Cell, float], seconds: dict[Cell, float], jobs: int
) -> float | None:
    """Wall seconds until a grid is done.

    Args:
        waiting: cells that have not begun.
        running: cells at work to the seconds they have taken.
        seconds: cells that are done to the seconds they took.
        jobs: number of workers.
    """
    whole = [predicted_seconds(cell, seconds) for cell in waiting]
    rest = [(predicted_seconds(cell, seconds), spent) for cell, spent in running.items()]
    left = [None if predicted is None else max(predicted - spent, 0.0) for predicted, spent in rest]
    known = [value for value in whole + left if value is not None]
    return None if len(known) < len(whole) + len(left) else sum(known) / jobs
