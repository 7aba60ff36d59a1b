"""A grid as it runs: a live table on a terminal, a line per finished cell elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from stbench.cli.console import complain, stderr_console
from stbench.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from stbench.grids.board import Board
    from stbench.grids.cells import Cell, Outcome

_PER_SECOND = 4


class BoardView:
    """Shows a board while a grid is carried out, and is what the grid tells its news to.

    Args:
        board: the state of the grid.
        columns: what the columns are, e.g. ``genes``.
    """

    def __init__(self, board: Board, columns: str) -> None:
        self._board, self._columns = board, columns
        self._console = stderr_console()
        self._live: Live | None = None
        self._lock = Lock()  # the live table is drawn by a thread of its own

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        from rich.live import Live

        with Live(
            console=self._console, get_renderable=self._render, refresh_per_second=_PER_SECOND, transient=True
        ) as self._live:
            try:
                yield
            finally:
                self._live = None

    def started(self, cell: Cell) -> None:
        """The cell is at work."""
        with self._lock:
            self._board.started(cell)

    def progressed(self, cell: Cell, text: str) -> None:
        """What the cell is doing."""
        with self._lock:
            self._board.progressed(cell, text)

    def said(self, cell: Cell, message: str) -> None:
        """A message of its run, as a line of its own."""
        self._line(f"{cell.folder}: {message}")

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        """The cell ended: its score or reason as a line, and how much is left."""
        with self._lock:
            self._board.finished(cell, outcome)
            count = self._board.count()
        if outcome.status != "done":
            said = f"{outcome.status}: {outcome.reason}"
        else:
            said = "done" if outcome.score is None else f"pcc {outcome.score:.3f}"
        self._line(f"{cell.folder}: {said}, {outcome.seconds:.1f} s; {count}")

    def _line(self, text: str) -> None:
        if self._live is None:
            complain(text)
        else:
            self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column(Text(f"PCC by {self._columns}"), no_wrap=True)
        for column in self._board.columns:
            table.add_column(Text(printable(column)), justify="right")
        with self._lock:
            rows, lines = self._board.lines(), [self._board.count(), *self._board.doing()]
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        return Group(table, Text(printable("\n".join(lines), keep="\n"), no_wrap=True, overflow="ellipsis"))
