"""Protocols: all folds of one rule together, means over patients on every scale, and which rows are told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.evaluation.record import PRIMARY, Record, TaskFacts
from stbench.evaluation.summaries import mean_of, std_of
from stbench.pages.columns import direction
from stbench.pages.leaderboard import Section
from stbench.pages.patients import LEAST, Estimate, by_patient, difference, estimate, group_of_best, holm, paired_p
from stbench.pages.rows import CEILINGS, CONTROLS, METHODS, Group, Row, Standing, values_by_seed

_ELSEWHERE = "choose another --out"
_DEPTH = "cp10k-log1p"
BEST, NOT_ABOVE = "=", "!"


@dataclass(frozen=True)
class Number:
    """One metric of one row, over all folds.

    Args:
        over: its mean over patients; None where it is defined on none, or a patient is unknown.
        seeds: sample standard deviation over seeds of the mean over slides, None below two.
    """

    over: Estimate | None
    seeds: float | None


@dataclass(frozen=True)
class Line:
    """One row of a board.

    Args:
        label: what is printed.
        standing: its block, and whether it is ranked.
        numbers: scale to metric to number.
        folds: how many folds it was run on.
    """

    label: str
    standing: Standing
    numbers: dict[str, dict[str, Number]]
    folds: int

    def patients(self, scale: str, metric: str = PRIMARY) -> dict[str, float]:
        """Patient to mean; empty where the metric is undefined."""
        number = self.numbers.get(scale, {}).get(metric)
        return {} if number is None or number.over is None else number.over.per_patient

    def mean(self, scale: str, metric: str = PRIMARY) -> float | None:
        """Mean over patients."""
        found = self.patients(scale, metric)
        return mean_of(list(found.values()))


@dataclass(frozen=True)
class Protocol:
    """All folds of a rule.

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
        found = dict.fromkeys(scale_of(section) for section in self.sections)
        return sorted(found, key=lambda scale: (scale != "log1p", scale))

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
        if not self.task.protocol_hash:
            return self.sections[0].name
        rule = re.sub(r"[^A-Za-z0-9.]+", "-", Path(self.task.rule).stem).strip("-")
        return f"{self.task.dataset}-g{self.task.n_genes}-{rule}-{self.task.protocol_hash[:8]}"


def scale_of(section: Section) -> str:
    """Name of the scale of a task."""
    return section.task.normalization.partition(":")[0]


def intervals_of(sections: Sequence[Section]) -> bool:
    """Whether no test patient is unknown, trains or validates in its fold."""
    for section in sections:
        task = section.task
        known = {task.patients.get(slide) for slide in [*task.train, *task.validation]}
        if any((patient := task.patients.get(slide)) is None or patient in known for slide in task.test):
            return False
    return True


def protocols(found: Sequence[Section]) -> tuple[list[Protocol], list[Section]]:
    """Sections whose folds meet in one table, and those that stand alone."""
    by_hash: dict[str, list[Section]] = {}
    for section in found:
        by_hash.setdefault(section.task.protocol_hash, []).append(section)
    meeting = {key for key, some in by_hash.items() if key and len({one.task.protocol for one in some}) > 1}
    boards = [Protocol(by_hash[key], lines_of(by_hash[key])) for key in by_hash if key in meeting]
    return boards, [section for section in found if section.task.protocol_hash not in meeting]


def lines_of(sections: Sequence[Section]) -> list[Line]:
    """Rows of all folds by label; the most complete and best first."""
    found: dict[str, list[tuple[Section, Group, Row]]] = {}
    for section in sections:
        for group, row in section.grouped_rows:
            found.setdefault(row.label, []).append((section, group, row))
    lines = [_line(label, members, legal=intervals_of(sections)) for label, members in found.items()]
    first = min((scale_of(section) for section in sections), key=lambda scale: (scale != "log1p", scale))

    def place(line: Line) -> tuple[bool, bool, float, str]:
        mean = line.mean(first)
        return line.standing.block != CEILINGS, mean is None, -(mean or 0.0), line.label

    return sorted(lines, key=place)


def _line(label: str, members: Sequence[tuple[Section, Group, Row]], *, legal: bool) -> Line:
    numbers: dict[str, dict[str, Number]] = {}
    for scale in dict.fromkeys(scale_of(section) for section, _, _ in members):
        mine = [member for member in members if scale_of(member[0]) == scale]
        metrics = dict.fromkeys(name for _, _, row in mine for name, cell in row.cells.items() if cell.per_slide)
        numbers[scale] = {name: _number(name, mine, legal=legal) for name in metrics}
    return Line(label, members[0][2].standing, numbers, len({section.task.protocol for section, _, _ in members}))


def _number(metric: str, members: Sequence[tuple[Section, Group, Row]], *, legal: bool) -> Number:
    """Slides of all folds together by patient: never a pool of spots over folds."""
    slides: dict[str, float | None] = {}
    patients: dict[str, str | None] = {}
    seeds: dict[int, list[float | None]] = {}
    for section, group, row in members:
        if metric not in row.cells:
            continue
        slides |= row.cells[metric].per_slide
        patients |= section.task.patients
        for seed, values in values_by_seed(group, row.way, metric).items():
            seeds.setdefault(seed, []).extend(values)
    means = by_patient(slides, patients)
    over = estimate(means, interval=legal) if means else None
    return Number(over, std_of([mean_of(values) for values in seeds.values()]))


def marks(board: Protocol) -> dict[str, str]:
    """Label to its marks in the primary metric: ``=`` not told from the best, ``!`` not above the best control."""
    scale = board.scales[0]
    complete = [line for line in board.lines if line.standing.ranked and line.folds == len(board.folds)]
    able = {line.label: line.patients(scale) for line in complete if line.patients(scale)}
    if not board.has_intervals or len(able) < 2:
        return {}
    best = set(group_of_best(able, higher=direction(PRIMARY) != "lower"))
    control = best_control(board)
    methods = [line.label for line in complete if line.standing.block == METHODS and line.label in able]
    below: set[str] = set()
    if control is not None:
        reference = control.patients(scale)
        above = holm([paired_p(able[label], reference) for label in methods])
        gaps = {label: difference(able[label], reference) for label in methods}
        below = {
            label
            for label, told in zip(methods, above, strict=True)
            if not told or (gap := gaps[label]) is None or gap.mean <= 0
        }
    return {label: (BEST if label in best else "") + (NOT_ABOVE if label in below else "") for label in able}


def best_control(board: Protocol) -> Line | None:
    """The best legal control by the primary metric, None where there is none."""
    legal = [line for line in board.lines if line.standing.block == CONTROLS and line.standing.ranked]
    return next((line for line in legal if line.mean(board.scales[0]) is not None), None)
