"""How a table fits a terminal: names stay whole, words fold between words, columns leave from the right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stbench.pages.tables import Emphasis, Strong, Table
from stbench.text import printable

if TYPE_CHECKING:
    from rich.table import Table as Drawing
    from rich.text import Text

_GAP = 2  # between two columns
_LONG_WORD = 24  # one that is longer may fold
_READABLE = 12  # no column of words is narrower, unless its words are short
_STYLES = {"FAIL": "bold red"}


@dataclass(frozen=True)
class Fitted:
    """Columns of a table on a terminal.

    Args:
        widths: column to its width, of those that are shown.
        left: columns that are not.
        whole: columns whose cells are not folded.
    """

    widths: dict[int, int]
    left: list[int]
    whole: frozenset[int]

    @property
    def width(self) -> int:
        """Width of the table."""
        return sum(self.widths.values()) + _GAP * (len(self.widths) - 1)


def fit(content: Table, names: Collection[int], width: int) -> Fitted:
    """Which columns a terminal shows, and how wide.

    Args:
        content: headings and cells.
        names: columns whose cells are never folded and never leave.
        width: columns of the terminal.
    """
    places = range(len(content.head))
    whole = frozenset(place for place in places if place in names or place not in content.words)
    natural = {place: _natural(content, place) for place in places}
    least = {place: natural[place] if place in whole else _least(content, place) for place in places}
    shown, left = list(places), list[int]()
    while Fitted({place: least[place] for place in shown}, [], whole).width > width:
        leaving = [place for place in shown if place not in names]
        if not leaving:
            break
        shown.remove(leaving[-1])
        left.insert(0, leaving[-1])
    room = width - _GAP * (len(shown) - 1)
    return Fitted(_grown({place: least[place] for place in shown}, natural, room), left, whole)


def _cells(content: Table, place: int) -> list[str]:
    return [printable(row[place]) for row in (content.head, *content.rows) if place < len(row)]


def _natural(content: Table, place: int) -> int:
    return max(_length(cell) for cell in _cells(content, place))


def _least(content: Table, place: int) -> int:
    words = [word for cell in _cells(content, place) for word in cell.split()]
    longest = max((_length(word) for word in words), default=0)
    return min(max(longest, _READABLE), _LONG_WORD, _natural(content, place))


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _grown(least: dict[int, int], natural: dict[int, int], room: int) -> dict[int, int]:
    """Widths up to the natural ones; what room there is goes to whoever is furthest from that."""
    widths = dict(least)
    for _ in range(room - sum(least.values())):
        wanting = [place for place in widths if widths[place] < natural[place]]
        if not wanting:
            break
        widths[min(wanting, key=lambda place: widths[place] / natural[place])] += 1
    return widths


def render(content: Table, fitted: Fitted) -> Drawing:
    """The columns that are shown, as rich draws them."""
    from rich import box
    from rich.table import Table as Drawing

    drawing = Drawing(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for place, width in fitted.widths.items():
        right = place not in content.words
        drawing.add_column(
            _text(content.head[place]), justify="right" if right else "left", width=width,
            overflow="fold", no_wrap=place in fitted.whole,
        )  # fmt: skip
    for number, row in enumerate(content.rows):
        if len(row) <= 1 and number:
            drawing.add_section()
        if row:
            drawing.add_row(*_shown(row, fitted))
    return drawing


def _shown(row: Sequence[str], fitted: Fitted) -> list[Text]:
    return [_text(row[place] if place < len(row) else "") for place in fitted.widths]


def _text(cell: str) -> Text:
    from rich.text import Text

    style = "bold" if isinstance(cell, Strong) else "italic" if isinstance(cell, Emphasis) else ""
    return Text(printable(cell), style=_STYLES.get(cell, style))
