"""Scores of a sweep less those of a control on the same panel and fold, and how they change with the panel.

A panel's own difficulty moves a method and a control together, so what a method does beyond it is in the difference.
Everything is paired by slide and seed before anything is averaged.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import log2

from stbench.evaluation.summaries import mean_of
from stbench.pages.crossed import Crossed, crossed
from stbench.pages.patients import by_patient
from stbench.pages.protocol import intervals_of
from stbench.pages.rows import DECLARED, POSTERIOR, SINGLE
from stbench.studies.sweep.results import Results, slides_of
from stbench.text import csv_cell

BAR, RANDOM = "ridge-slide", "random-spot"
CONTROLS = (BAR, RANDOM)
METRICS = ("pcc", "gsc", "ssc")
ASKED = (50, 200)
"""Panel sizes between which a paper reports a collapse."""

Scores = dict[tuple[int, str], float]
"""Seed and slide to score; slides where it is undefined are left out."""


@dataclass(frozen=True)
class Row:
    """One way of predicting of one series.

    Args:
        series: its name.
        method: its method.
        way: way of predicting.
        label: what is printed.
    """

    series: str
    method: str
    way: str
    label: str


@dataclass(frozen=True)
class Relative:
    """The series of a sweep beside one of its controls.

    Args:
        results: what was found, on several folds.
        control: name of the control; empty for the scores themselves.
    """

    results: Results
    control: str = ""

    @property
    def ran(self) -> bool:
        """Whether the control has numbers."""
        return any(name == self.control for name, _ in self.results.records)

    @cached_property
    def rows(self) -> list[Row]:
        """Ways of predicting of what the user named, but for the control itself."""
        labels = {(line.method, line.way): line.label for board in self.results.boards.values() for line in board.lines}
        return [
            Row(one.name, one.method, way, labels[one.name, way])
            for one in self.results.asked
            for way in (DECLARED, SINGLE, POSTERIOR)
            if one.name != self.control and (one.name, way) in labels
        ]

    def scores(self, row: Row, genes: int, metric: str) -> Scores:
        """What a row has above the control, slide by slide; one draw is held against one draw where there are draws."""
        own = _scores(self.results, row.series, genes, metric, row.way)
        if not self.control:
            return own
        base = self._base(genes, metric, row.way)
        return {(seed, slide): value - base[slide] for (seed, slide), value in own.items() if slide in base}

    def _base(self, genes: int, metric: str, way: str) -> dict[str, float]:
        drawn = _scores(self.results, self.control, genes, metric, SINGLE) if way == SINGLE else {}
        return _over_seeds(drawn or _scores(self.results, self.control, genes, metric, DECLARED))

    def at(self, row: Row, genes: int, metric: str) -> Crossed | None:
        """The mean at one panel size, None where there is none."""
        return self._crossed(self.scores(row, genes, metric))

    def slope(self, row: Row, metric: str, small: int, large: int) -> Crossed | None:
        """Change per doubling of the panel, from a smaller to a larger one."""
        change = _less(self.scores(row, large, metric), self.scores(row, small, metric))
        return self._crossed({key: value / log2(large / small) for key, value in change.items()})

    def fall(self, row: Row, metric: str, small: int, large: int) -> Crossed | None:
        """How much lower it is on the larger panel."""
        return self._crossed(_less(self.scores(row, small, metric), self.scores(row, large, metric)))

    def lines(self, row: Row, genes: int, metric: str) -> list[tuple[str, int, float]]:
        """Patient, seed and mean over the patient's slides at one panel size."""
        values = self._values(self.scores(row, genes, metric))
        return [(patient, seed, value) for patient, seeds in values.items() for seed, value in seeds.items()]

    def _crossed(self, scores: Scores) -> Crossed | None:
        values = self._values(scores)
        return crossed(values, interval=self.legal) if values else None

    def _values(self, scores: Scores) -> dict[str, dict[int, float]]:
        """By patient and seed; by slide where a patient is unknown."""
        values: dict[str, dict[int, float]] = {}
        for seed in sorted({seed for seed, _ in scores}):
            slides = {slide: value for (one, slide), value in scores.items() if one == seed}
            means = by_patient(slides, self._patients)
            for unit, mean in (slides if means is None else means).items():
                values.setdefault(unit, {})[seed] = mean
        return values

    @cached_property
    def _patients(self) -> dict[str, str | None]:
        return {slide: patient for board in self.results.boards.values() for slide, patient in board.patients.items()}

    @cached_property
    def legal(self) -> bool:
        """Whether patients are known, and none trains or validates in the fold that tests it."""
        return all(intervals_of(board.sections) for board in self.results.boards.values())


def beside(results: Results) -> list[Relative]:
    """What the series are held against: the controls of :data:`CONTROLS` that have numbers."""
    return [one for name in CONTROLS if (one := Relative(results, name)).ran]


def absent(results: Results) -> list[str]:
    """The controls of :data:`CONTROLS` without numbers."""
    return [name for name in CONTROLS if not Relative(results, name).ran]


def steps(genes: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring panel sizes."""
    return list(pairwise(sorted(genes)))


def to_largest(genes: Sequence[int]) -> list[tuple[int, int]]:
    """Every smaller panel size with the largest."""
    *smaller, largest = sorted(genes)
    return [(size, largest) for size in smaller]


def headline(genes: Sequence[int]) -> tuple[int, int] | None:
    """The two sizes a page speaks of first: 50 and 200 genes, else the two largest; None where there is one."""
    return ASKED if set(ASKED) <= set(genes) else next(reversed(steps(genes)), None)


def relative_csv(results: Results) -> str:
    """Lines below those of the scores, one per series, panel size, seed, way of predicting, metric and patient.

    ``metric`` is e.g. ``pcc less ridge-slide``; fold and slide are empty.
    """
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    series = {one.name: one for one in results.asked}
    for one in beside(results):
        for row, genes, metric in product(one.rows, results.manifest.genes, METRICS):
            said = [csv_cell(row.series), csv_cell(row.method), series[row.series].kind, genes]
            behind = [row.way, series[row.series].draws, f"{metric} less {one.control}", ""]
            for patient, seed, value in one.lines(row, genes, metric):
                write([*said, seed, "", *behind, csv_cell(patient), repr(value)])
    return text.getvalue()


def _scores(results: Results, name: str, genes: int, metric: str, way: str) -> Scores:
    return {
        (record.seed, slide): value
        for record in results.records.get((name, genes), [])
        for slide, value in slides_of(record, way, metric).items()
        if slide and value is not None
    }


def _over_seeds(scores: Scores) -> dict[str, float]:
    slides: dict[str, list[float | None]] = {}
    for (_, slide), value in scores.items():
        slides.setdefault(slide, []).append(value)
    return {slide: mean for slide, values in slides.items() if (mean := mean_of(values)) is not None}


def _less(first: Mapping[tuple[int, str], float], second: Mapping[tuple[int, str], float]) -> Scores:
    return {key: value - second[key] for key, value in first.items() if key in second}
