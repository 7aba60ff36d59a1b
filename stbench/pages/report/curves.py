"""Training curves as lines in a box of 100 by 100, which a page stretches to any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stbench.pages.plots.material import NotPossibleError, Run
from stbench.pages.plots.training import histories, named
from stbench.pages.protocol import Protocol
from stbench.text import first_line
from stbench.training.history import Training

_MOST_POINTS, _POINTS = 40_000, (20, 200)  # of a page; of a line


@dataclass(frozen=True)
class Curve:
    """A line of a run.

    Args:
        name: of the run among those of its row.
        points: ``x,y x,y ...`` from the upper left.
        best: x and y of the best evaluation, None where there is none.
    """

    name: str
    points: str
    best: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """Lines with the ends of their axes.

    Args:
        row: whose trainings these are.
        title: what is drawn.
        curves: one per run.
        low: least value.
        high: largest.
        updates: of the longest training.
    """

    row: str
    title: str
    curves: Sequence[Curve]
    low: float
    high: float
    updates: float


def charts_of(board: Protocol, runs: Sequence[Run]) -> tuple[list[Chart], str]:
    """Loss and validation score of every row that kept a history, or why there is none.

    Raises:
        DataError: a history is damaged.
    """
    ours = {id(record) for record in board.records}
    try:
        found = histories([run for run in runs if id(run.record) in ours])
    except NotPossibleError as error:
        return [], f"No training curves: {first_line(error)}."
    lines = sum(len(members) for members in found.values())
    most = int(np.clip(_MOST_POINTS // (2 * lines), *_POINTS))
    return [chart for row, members in found.items() for chart in _charts(row, members, most)], ""


def _charts(row: str, members: Sequence[tuple[Run, Training]], most: int) -> list[Chart]:
    several = len({run.record.task.hash for run, _ in members}) > 1
    losses, scores = [], []
    longest = max(float(training.updates[-1]) for _, training in members)
    for run, training in members:
        name = named(run, several=several)
        losses.append(_Line(name, training.updates / max(longest, 1.0), training.loss, None))
        scores.append(_Line(name, training.updates / max(longest, 1.0), training.validation, training.best))
    score = members[0][1].score.replace("_", " ")
    return [_chart(row, "training loss", losses, longest, most), _chart(row, score, scores, longest, most)]


class _Line(NamedTuple):
    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    best: int | None


def _chart(row: str, title: str, lines: Sequence[_Line], updates: float, most: int) -> Chart:
    known = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return Chart(row, title, [_curve(line, low, high, most) for line in lines], low, high, updates)


def _curve(line: _Line, low: float, high: float, most: int) -> Curve:
    xy = np.stack([100 * line.x, 100 * (high - line.y) / ((high - low) or 1.0)], axis=-1)
    points = xy[np.isfinite(line.y)]
    points = points[np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).round().astype(int))]
    said = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Curve(line.name, said, None if line.best is None else (float(xy[line.best, 0]), float(xy[line.best, 1])))
