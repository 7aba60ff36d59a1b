"""A board at a glance, as shares of the width of a page: rows with intervals, the best control and the ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stbench.evaluation.record import PRIMARY
from stbench.pages.marks import marks, ranked
from stbench.pages.plots.forest import bars, caption, in_order, reach
from stbench.pages.plots.material import NotPossibleError
from stbench.pages.protocol import Line, Protocol


@dataclass(frozen=True)
class Bar:
    """A row; places are percent of the width.

    Args:
        label: of the row.
        marks: behind it.
        block: ``methods``, ``controls`` or ``ceilings``.
        hollow: whether it sees the truth.
        place: its rank, empty where it has none.
        mean: of the primary metric, None where there is none on this scale.
        at: where the mean stands, ``low`` and ``high`` where its bar ends.
    """

    label: str
    marks: str
    block: str
    hollow: bool
    place: str
    mean: float | None = None
    at: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Forest:
    """One scale of a board.

    Args:
        scale: of expression.
        rows: the best first.
        guides: block, place in percent and text of the best control's line and the ceiling's.
        ticks: place in percent and text.
        caption: what marks and bars are.
    """

    scale: str
    rows: Sequence[Bar]
    guides: Sequence[tuple[str, float, str]]
    ticks: Sequence[tuple[float, str]]
    caption: str


def forests_of(board: Protocol) -> list[Forest]:
    """One per scale that has numbers; none where no row has the primary metric."""
    try:
        lines = in_order(board)
    except NotPossibleError:
        return []
    return [
        _forest(board, lines, scale) for scale in board.scales if any(line.mean(scale) is not None for line in lines)
    ]


def _forest(board: Protocol, lines: Sequence[Line], scale: str) -> Forest:
    ends = [end for line in lines for end in _ends(line, scale)]
    low, high = min(ends), max(ends)
    room = 0.02 * (high - low) or 0.1
    low, high = low - room, high + room

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    said, places = marks(board), {line.label: str(place) for place, line in enumerate(ranked(board), start=1)}
    rows = []
    for line in lines:
        standing, ends = line.standing, _ends(line, scale)
        bar = Bar(line.label, said[line.label], standing.block, not standing.ranked, places.get(line.label, ""))
        rows.append(replace(bar, mean=ends[1], low=at(ends[0]), at=at(ends[1]), high=at(ends[2])) if ends else bar)
    guides = [(line.standing.block, at(mean), text) for line, mean, text in bars(board, scale)]
    return Forest(scale, rows, guides, [(at(tick), f"{tick:g}") for tick in _ticks(low, high)], caption(board))


def _ends(line: Line, scale: str) -> list[float]:
    """Lowest, mean and highest; nothing where the row has no mean."""
    number = line.numbers.get(scale, {}).get(PRIMARY)
    if number is None or number.over is None:
        return []
    low, high = reach(number.over)
    return [low, number.over.mean, high]


def _ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    return [round(float(tick), 6) for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
