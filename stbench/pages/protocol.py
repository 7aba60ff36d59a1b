"""Boards: folds of one rule and scales of one fold together, means over patients on every scale."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stbench.errors import UserError
from stbench.evaluation.record import PRIMARY, Record, TaskFacts
from stbench.evaluation.summaries import mean_of, std_of
from stbench.pages.facts import leaking
from stbench.pages.patients import LEAST, Estimate, by_patient, estimate
from stbench.pages.rows import CEILINGS, REFERENCES, Group, Row, Standing, values_by_seed
from stbench.pages.sections import Section


@dataclass(frozen=True)
class Number:
    """One metric of one row, over all folds.

    Args:
        over: its mean over patients, over slides where a patient is unknown; None where it is defined on none.
        seeds: sample standard deviation over seeds of the mean over slides, None below two.
        draws: sample standard deviation over draws of a draw's mean over slides, None but for single draws.
        pooled: its value where it has none per slide, as metrics over all spots of a task; None over several folds.
        n_missing: test slides on which it is undefined, of the folds that were run.
        dressed: whether it is of a normal law around a point prediction.
    """

    over: Estimate | None
    seeds: float | None = None
    draws: float | None = None
    pooled: float | None = None
    n_missing: int = 0
    dressed: bool = False

    @property
    def mean(self) -> float | None:
        """The value that is printed first."""
        return self.pooled if self.over is None else self.over.mean


@dataclass(frozen=True)
class Line:
    """One row of a board.

    Args:
        label: what is printed.
        standing: its block, and whether it is ranked.
        numbers: scale to metric to number.
        folds: scale to how many folds it was run on.
        rows: scale to the rows of every fold it was made from.
        records: the runs behind it.
    """

    label: str
    standing: Standing
    numbers: dict[str, dict[str, Number]]
    folds: dict[str, int]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    @property
    def is_reference(self) -> bool:
        """Whether it is what is known of domains without a prediction."""
        return self.way in REFERENCES

    @property
    def method(self) -> str:
        """Name of the method."""
        return next(row.method for rows in self.rows.values() for row in rows)

    @property
    def way(self) -> str:
        """Way of predicting."""
        return next(row.way for rows in self.rows.values() for row in rows)

    def patients(self, scale: str, metric: str = PRIMARY) -> dict[str, float]:
        """Patient to mean; empty where the metric is undefined."""
        number = self.numbers.get(scale, {}).get(metric)
        return {} if number is None or number.over is None else number.over.per_patient

    def mean(self, scale: str, metric: str = PRIMARY) -> float | None:
        """Mean over patients, None where there is none."""
        return mean_of(list(self.patients(scale, metric).values()))

    def is_whole(self, scale: str, metric: str, folds: int) -> bool:
        """Whether it was run on all folds and the metric is defined on every test slide of them."""
        number = self.numbers.get(scale, {}).get(metric)
        whole = self.folds.get(scale) == folds
        return whole and number is not None and number.over is not None and not number.n_missing


@dataclass(frozen=True)
class Protocol:
    """A board: all folds of a rule and all scales of a fold.

    Args:
        sections: one per fold and scale.
        lines: rows, ceilings first, then the rest from best to worst on the first scale.
    """

    sections: list[Section]
    lines: list[Line]

    @property
    def task(self) -> TaskFacts:
        """Facts of the first fold; but for slides, panel and scale they are those of all."""
        return self.sections[0].task

    @property
    def scales(self) -> list[str]:
        """Scales of expression, ``log1p`` first."""
        return scales_of(self.sections)

    @property
    def rule(self) -> str:
        """What the folds were made by; the fold itself where there is one."""
        return self.task.rule if len(self.folds) > 1 else self.task.protocol

    @property
    def is_clean(self) -> bool:
        """Whether no test patient is known to train or validate in its fold."""
        return not any(leaking(section.task) for section in self.sections)

    @property
    def folds(self) -> list[str]:
        """Names of the folds."""
        return list(dict.fromkeys(section.task.protocol for section in self.sections))

    @property
    def patients(self) -> dict[str, str | None]:
        """Test slide to its patient."""
        return {slide: section.task.patients.get(slide) for section in self.sections for slide in section.task.test}

    @property
    def has_intervals(self) -> bool:
        """Whether patients are known, four or more, and none of them trains or validates where they are tested."""
        return intervals_of(self.sections) and len(set(self.patients.values())) >= LEAST

    @property
    def records(self) -> list[Record]:
        """Every run of every fold."""
        return [record for section in self.sections for record in section.records]

    @property
    def name(self) -> str:
        """File name without its ending: dataset, panel size, rule, first digits of the hash."""
        if len(self.sections) == 1:
            return self.sections[0].name
        rule = re.sub(r"[^A-Za-z0-9.]+", "-", Path(self.task.rule).stem).strip("-")
        return f"{self.task.dataset}-g{self.task.n_genes}-{rule}-{self.task.protocol_hash[:8]}"


def scale_of(section: Section) -> str:
    """Name of the scale of a task."""
    return section.task.scale


def scales_of(sections: Sequence[Section]) -> list[str]:
    """Names of the scales of tasks, ``log1p`` first."""
    found = {scale_of(section) for section in sections}
    return sorted(found, key=lambda scale: (scale != "log1p", scale))


def on_scale(board: Protocol, scale: str) -> Protocol:
    """The folds of a board on one of its scales alone, rows in the order of that scale."""
    own = [section for section in board.sections if scale_of(section) == scale]
    return board if len(own) == len(board.sections) else Protocol(own, lines_of(own))


def intervals_of(sections: Sequence[Section]) -> bool:
    """Whether no test patient is unknown, trains or validates in its fold."""
    tested = [(section.task, slide) for section in sections for slide in section.task.test]
    return all(task.patients.get(slide) is not None for task, slide in tested) and not any(
        leaking(section.task) for section in sections
    )


def boards_of(found: Sequence[Section]) -> list[Protocol]:
    """Boards in the order of their first section: folds of one rule and scales of one fold meet, all else is alone.

    Two tasks of one fold on one scale never meet, e.g. of two versions of the data: those of their protocol stay alone.
    """
    by_hash: dict[str, list[Section]] = {}
    for section in found:
        by_hash.setdefault(section.task.protocol_hash or section.task.hash, []).append(section)
    boards = []
    for some in by_hash.values():
        meet = len({(one.task.protocol, scale_of(one)) for one in some}) == len(some)
        boards += [Protocol(group, lines_of(group)) for group in ([some] if meet else [[one] for one in some])]
    return boards


def lines_of(sections: Sequence[Section]) -> list[Line]:
    """Rows of all folds by label; the most complete and best first.

    Raises:
        UserError: the folds are of several protocols.
    """
    if len(others := {section.task.protocol_hash[:8] for section in sections}) > 1:
        named = ", ".join(sorted(others))
        raise UserError(f"expected folds of one protocol in a table, found {named}; give each a table of its own")
    found: dict[str, list[tuple[Section, Group, Row]]] = {}
    for section in sections:
        for group, row in section.grouped_rows:
            found.setdefault(row.label, []).append((section, group, row))
    lines = [_line(label, members, legal=intervals_of(sections)) for label, members in found.items()]
    first = scales_of(sections)[0]

    def place(line: Line) -> tuple[bool, bool, float, str]:
        mean = line.mean(first)
        return line.standing.block != CEILINGS, mean is None, -(mean or 0.0), line.label

    return sorted(lines, key=place)


def _line(label: str, members: Sequence[tuple[Section, Group, Row]], *, legal: bool) -> Line:
    numbers: dict[str, dict[str, Number]] = {}
    rows: dict[str, list[Row]] = {}
    folds: dict[str, int] = {}
    for scale in dict.fromkeys(scale_of(section) for section, _, _ in members):
        mine = [member for member in members if scale_of(member[0]) == scale]
        metrics = dict.fromkeys(name for _, _, row in mine for name in row.cells)
        numbers[scale] = {name: _number(name, mine, legal=legal) for name in metrics}
        rows[scale] = [row for _, _, row in mine]
        folds[scale] = len({section.task.protocol for section, _, _ in mine})
    records = [record for _, group, _ in members for record in group.done]
    return Line(label, members[0][2].standing, numbers, folds, rows, records)


def _number(metric: str, members: Sequence[tuple[Section, Group, Row]], *, legal: bool) -> Number:
    """Slides of all folds together by patient: never a pool of spots over folds."""
    having = [(section, group, row, row.cells[metric]) for section, group, row in members if metric in row.cells]
    slides: dict[str, float | None] = {}
    patients: dict[str, str | None] = {}
    seeds: dict[int, list[float | None]] = {}
    for section, group, row, cell in having:
        slides |= cell.per_slide
        patients |= section.task.patients
        for seed, values in values_by_seed(group, row.way, metric).items():
            seeds.setdefault(seed, []).extend(values)
    means = by_patient(slides, patients)
    if means is None:
        means, legal = {slide: value for slide, value in slides.items() if value is not None}, False
    return Number(
        estimate(means, interval=legal) if means else None,
        std_of([mean_of(values) for values in seeds.values()]) if slides else None,
        mean_of([cell.std_draws for *_, cell in having]),
        having[0][3].mean if len(having) == 1 and not slides else None,
        sum(len(section.task.test) for section, *_ in having) - sum(value is not None for value in slides.values()),
        any(cell.dressed for *_, cell in having),
    )
