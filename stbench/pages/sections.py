"""Records by task: the rows of every task, and the numbers behind them as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.evaluation.record import ORIGINS, Record, TaskFacts
from stbench.pages.rows import CEILINGS, CONTROLS, METHODS, Cell, Group, Row, groups, ordered, rows_of
from stbench.text import csv_cell

_BLOCKS = (CEILINGS, METHODS, CONTROLS)


@dataclass(frozen=True)
class Section:
    """Everything about one task.

    Args:
        task: facts of the task.
        groups: its runs, those that differ in their seed alone together.
        rows: what the table prints, in order.
    """

    task: TaskFacts
    groups: list[Group]
    rows: list[Row]

    @property
    def grouped_rows(self) -> list[tuple[Group, Row]]:
        """Every row with the runs behind it."""
        return [(group, row) for group in self.groups for row in rows_of(group)]

    @property
    def records(self) -> list[Record]:
        """Every run, those of one group one after the other."""
        return [record for group in self.groups for record in group.records]

    @property
    def name(self) -> str:
        """File name without its ending: dataset, panel size, protocol, first digits of the hash."""
        protocol = re.sub(r"[^A-Za-z0-9.]+", "-", Path(self.task.protocol).stem).strip("-")
        return f"{self.task.dataset}-g{self.task.n_genes}-{protocol}-{self.task.hash[:8]}"


def sections(records: Sequence[Record]) -> list[Section]:
    """Records by task: real cohorts, then semi-synthetic, then simulated ones; by name within."""
    by_task: dict[str, list[Record]] = {}
    for record in records:
        by_task.setdefault(record.task.hash, []).append(record)
    found = []
    for runs in by_task.values():
        together = groups(runs)
        rows = [row for group in together for row in rows_of(group)]
        in_order = [row for block in _BLOCKS for row in ordered(rows, block)]
        task = min((run.task for run in runs), key=lambda task: task.model_dump_json())
        found.append(Section(task, together, in_order))
    return sorted(found, key=lambda section: (ORIGINS.index(section.task.origin), section.name))


def leaderboard_csv(records: Sequence[Record]) -> str:
    """The numbers behind the tables, one line per task, row, metric and slide, and one per draw.

    Columns ``task``, ``origin`` (real, semi-synthetic or simulated), ``row``, ``metric``, ``slide``, ``patient``,
    ``seed``, ``draw``, ``value``. The slide is empty for pooled metrics and spreads over draws, the patient where
    unknown, the value where undefined. Where seed and draw are empty both are averaged inside a slide; rows of single
    draws also have one line per seed and draw, and with an empty slide that draw's mean over slides.
    """
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(["task", "origin", "row", "metric", "slide", "patient", "seed", "draw", "value"])
    for section in sections(records):
        task = section.task
        for row in section.rows:
            for metric, cell in row.cells.items():
                for slide, seed, draw, value in _values(cell):
                    said = [row.label, metric, slide, task.patients.get(slide) or ""]
                    shown = "" if value is None else repr(value)
                    write([task.hash, task.origin, *map(csv_cell, said), seed, draw, shown])
    return text.getvalue()


def _values(cell: Cell) -> Iterator[tuple[str, str, str, float | None]]:
    """Slide, seed, draw and value of everything a cell was made from."""
    for slide, value in (cell.per_slide or {"": cell.mean}).items():
        yield slide, "", "", value
    for seed, slides in cell.per_draw.items():
        for slide, values in slides.items():
            for draw, value in enumerate(values):
                yield slide, str(seed), str(draw), value
