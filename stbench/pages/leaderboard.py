"""Leaderboards: a pure function of records. One table per task; numbers of two tasks never meet in one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.errors import UnknownNameError, UserError
from stbench.evaluation.record import ORIGINS, Record, TaskFacts
from stbench.files import write_text
from stbench.pages import markdown, wording
from stbench.pages.archive import ENDING, write_archive
from stbench.pages.columns import Place, columns, decimals, direction, title
from stbench.pages.comparison import best_row, unit_of
from stbench.pages.facts import facts_of, measured_on, spoken, title_of
from stbench.pages.rows import CEILINGS, CONTROLS, METHODS, Cell, Group, Row, groups, ordered, rows_of
from stbench.pages.tables import NONE, Emphasis, Strong, Table

_ELSEWHERE = "choose another --out"
_BLOCKS = {CEILINGS: "ceilings", METHODS: "methods", CONTROLS: "controls and floors"}


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


def leaderboard(records: Sequence[Record], *, metrics: Sequence[str] | None = None, command: str = "") -> str:
    """Markdown with one section per task.

    Args:
        records: any records, in any order; the order changes nothing.
        metrics: columns in order; all usual ones that some record holds when None.
        command: what the user typed, repeated at the end.

    Raises:
        UnknownNameError: a metric no record holds.
    """
    return "\n\n".join(_section(section, metrics, command) for section in sections(records)) + "\n"


def _section(section: Section, metrics: Sequence[str] | None, command: str) -> str:
    task, shown = section.task, columns_of(section, metrics)
    seeds = sorted({record.seed for record in section.records})
    repeat = wording.commands(section.records, command)
    parts = [
        f"## {title_of(task, f'{task.n_genes} genes')}",
        markdown.bullets(spoken(facts_of(task, seeds))),
        markdown.table(table_of(section, shown)),
        markdown.bullets(wording.notes(task, section.rows, shown, unit_of(task))),
        markdown.bullets(wording.troubles(section.groups)),
        markdown.table(wording.costs(section.groups)),
        markdown.bullets(spoken(measured_on(section.records))),
        *(["To repeat:", markdown.code(repeat)] if repeat else []),
    ]
    return "\n\n".join(part for part in parts if part)


def columns_of(section: Section, asked: Sequence[str] | None = None, place: Place = "board") -> list[str]:
    """Metrics shown of a task: those asked for, else what the place shows unasked and some record holds.

    Raises:
        UnknownNameError: a metric no record holds.
    """
    held = list(dict.fromkeys(name for row in section.rows for name in row.cells))
    if asked is None:
        return columns(place, held)
    for name in asked:
        if held and name not in held:
            raise UnknownNameError("metric", name, held, hint=f"held by the records of task {section.task.hash[:8]}")
    return list(asked)


def table_of(section: Section, metrics: Sequence[str]) -> Table:
    """Rows of a task in their blocks, from best to worst, with places for methods.

    Args:
        section: the task and its rows.
        metrics: columns in order.
    """
    unit = unit_of(section.task)
    best = {name: best_row(section.rows, name, direction(name), unit) for name in metrics}
    lines: list[list[str]] = []
    for block, heading in _BLOCKS.items():
        rows = [row for row in section.rows if row.block == block]
        troubled = [group for group in section.groups if group.block == block and not group.done]
        lines += [["", Emphasis(heading)]] if rows or troubled else []
        for place, row in enumerate(rows, start=1):
            cells = [_cell(row, name, bold=best[name] is row) for name in metrics]
            lines.append([str(place) if block == METHODS else "", row.label, *cells])
        for group in troubled:
            mark = "x" if any(record.status == "failed" for record in group.records) else NONE
            lines.append([mark, group.name, *[mark] * len(metrics)])
    return Table(["#", "row", *map(title, metrics)], lines, words=(1,))


def _cell(row: Row, metric: str, *, bold: bool) -> str:
    text = number(row.cells.get(metric), decimals(metric))
    return Strong(text) if bold else text


def number(cell: Cell | None, decimals: int) -> str:
    """``mean ± standard deviation over slides (± standard deviation over draws)``, ``-`` where undefined."""
    if cell is None or cell.mean is None:
        return NONE
    text = f"{cell.mean:.{decimals}f}"
    if cell.std_slides is not None:
        text += f" ± {cell.std_slides:.{decimals}f}"
    if cell.std_draws is not None:
        text += f" (± {cell.std_draws:.{decimals}f})"
    return text


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
                    patient = task.patients.get(slide) or ""
                    shown = "" if value is None else repr(value)
                    write([task.hash, task.origin, row.label, metric, slide, patient, seed, draw, shown])
    return text.getvalue()


def _values(cell: Cell) -> Iterator[tuple[str, str, str, float | None]]:
    """Slide, seed, draw and value of everything a cell was made from."""
    for slide, value in (cell.per_slide or {"": cell.mean}).items():
        yield slide, "", "", value
    for seed, slides in cell.per_draw.items():
        for slide, values in slides.items():
            for draw, value in enumerate(values):
                yield slide, str(seed), str(draw), value


def write_leaderboards(
    found: Sequence[Section],
    out: Path,
    *,
    metrics: Sequence[str] | None = None,
    command: str = "",
    with_csv: bool = False,
) -> list[Path]:
    """Write ``<dataset>-g<genes>-<protocol>-<hash8>.md`` for every task, and beside it the records it follows from.

    The records lie in one archive of the same name, from which the same page can be made again.

    Args:
        found: what :func:`sections` made of the records.
        out: folder, made when absent.
        metrics: columns in order.
        command: what the user typed.
        with_csv: whether to write every number as ``.csv`` too.

    Returns:
        The markdown files, in the order of the sections.

    Raises:
        UserError: there is no record, or the folder cannot be written.
    """
    if not found:
        raise UserError("expected at least one record, found none; give the folders that stbench run wrote")
    return [_write(section, out, metrics, command, with_csv) for section in found]


def _write(section: Section, out: Path, metrics: Sequence[str] | None, command: str, with_csv: bool) -> Path:
    path = out / f"{section.name}.md"
    write_text(path, leaderboard(section.records, metrics=metrics, command=command), hint=_ELSEWHERE)
    write_archive(out / f"{section.name}{ENDING}", section.records, hint=_ELSEWHERE)
    if with_csv:
        write_text(out / f"{section.name}.csv", leaderboard_csv(section.records), hint=_ELSEWHERE)
    return path
