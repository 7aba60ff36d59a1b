"""Every row by patient and by slide, in every metric that has values per slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stbench.evaluation.record import PRIMARY
from stbench.pages.columns import decimals, title
from stbench.pages.leaderboard import lines_shown
from stbench.pages.patients import by_patient
from stbench.pages.protocol import Line, Protocol
from stbench.pages.tables import NONE, Table

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Part:
    """Tables of one shape, one per metric.

    Args:
        what: ``patient`` or ``slide``.
        scale: of expression.
        tables: one per metric, all with the same rows and columns.
    """

    what: str
    scale: str
    tables: Sequence[Table]

    @property
    def content(self) -> Table:
        """That of the first metric."""
        return self.tables[0]


@dataclass(frozen=True)
class ByName:
    """All parts of a board.

    Args:
        metrics: name and title, the primary metric first.
        tables: by patient and slide, on every scale.
    """

    metrics: Sequence[tuple[str, str]]
    tables: Sequence[Part]

    def data(self) -> dict[str, Any]:
        """Titles of metrics, and metric by metric the cells of every table without the names of rows."""
        cells = [[[row[1:] for row in part.tables[i].rows] for part in self.tables] for i in range(len(self.metrics))]
        return {"metrics": [said for _, said in self.metrics], "cells": cells}


def values_of(board: Protocol, metrics: Sequence[str]) -> ByName:
    """Every row by patient and by slide; by slide alone where a patient is unknown.

    Args:
        board: the folds.
        metrics: those shown of it; one without values per slide is left out.
    """
    first = [PRIMARY, *(name for name in metrics if name != PRIMARY)]
    known = None not in board.patients.values()
    shown = [
        name for name in first if any(_slides(line, scale, name) for line in board.lines for scale in board.scales)
    ]
    lines = lines_shown(board, shown)
    whats = ["patient", "slide"] if known else ["slide"]
    parts = [
        Part(what, scale, [_table(board, lines, what, scale, name) for name in shown])
        for scale in board.scales for what in whats if shown
    ]  # fmt: skip
    return ByName([(name, title(name)) for name in shown], parts)


def _table(board: Protocol, lines: Sequence[Line], what: str, scale: str, metric: str) -> Table:
    of_patients = what == "patient"
    names = sorted({str(name) for name in (board.patients.values() if of_patients else board.patients)})
    rows = []
    for line in lines:
        values: Values = _slides(line, scale, metric)
        found = (by_patient(values, board.patients) or {}) if of_patients else values
        rows.append([line.label, *(_text(found.get(name), metric) for name in names)])
    return Table(["row", *names], rows)


def _slides(line: Line, scale: str, metric: str) -> dict[str, float | None]:
    cells = (row.cells[metric] for row in line.rows.get(scale, []) if metric in row.cells)
    return {slide: value for cell in cells for slide, value in cell.per_slide.items()}


def _text(value: float | None, metric: str) -> str:
    return NONE if value is None else f"{value:.{decimals(metric)}f}"
