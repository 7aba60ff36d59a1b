"""Tables as data: rows of cells that a page writes as markdown and the command line draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

NONE = "-"
"""What a cell says where there is no value."""


class Strong(str):
    """Text that stands out."""


class Emphasis(str):
    """Text that is set apart."""


@dataclass(frozen=True)
class Table:
    """Headings and cells.

    Args:
        head: one heading per column.
        rows: cells as text, those of one row in one sequence; a row of one cell is the title of the rows below it.
        words: columns of words, aligned on the left; all others hold numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[int] = (0,)

    def without(self, heading: str) -> Table:
        """The same table without one of its columns; a row that is left with one filled cell is a title."""
        gone = list(self.head).index(heading)
        head, *rows = ([cell for place, cell in enumerate(row) if place != gone] for row in (self.head, *self.rows))
        return Table(head, rows, [place - (place > gone) for place in self.words if place != gone])
