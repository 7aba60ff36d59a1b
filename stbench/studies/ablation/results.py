"""What an ablation found: the runs behind every row, and their differences from the row of reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.errors import UserError
from stbench.evaluation.record import Record
from stbench.evaluation.rescore import Truths, rescore
from stbench.evaluation.summaries import mean_of, std_of
from stbench.grids.plan import address
from stbench.pages.columns import columns
from stbench.pages.patients import half_width, over_patients
from stbench.pages.rows import DECLARED, SINGLE
from stbench.studies.ablation.manifest import AblationManifest, Row, Table
from stbench.studies.sweep.results import Results, read_results, values_of

Records = dict[int, Record]
"""Seed to finished run."""


@dataclass(frozen=True)
class Score:
    """A metric of one row.

    Args:
        mean: mean over slides of the mean over seeds.
        over_slides: sample standard deviation over slides of the mean over seeds, None below two.
        over_seeds: sample standard deviation over seeds of the mean over slides, None below two.
    """

    mean: float
    over_slides: float | None
    over_seeds: float | None


@dataclass(frozen=True)
class Gap:
    """A metric of one row minus that of another, paired by seed and slide.

    Args:
        per_seed: seed to mean over slides of the differences.
        over_seeds: half the 95 % t interval over seeds, None with one.
        over_patients: the same over test patients, None below four of them, under a leak, or with an unknown one.
    """

    per_seed: dict[int, float]
    over_seeds: float | None
    over_patients: float | None

    @property
    def mean(self) -> float:
        """Mean over seeds of the mean over slides."""
        return sum(self.per_seed.values()) / len(self.per_seed)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval over seeds leaves out 0."""
        return self.over_seeds is not None and abs(self.mean) > self.over_seeds


@dataclass(frozen=True)
class Found:
    """A table with what was measured for its rows.

    Args:
        table: what it holds.
        records: label to the finished runs by seed.
        reasons: label to why runs are missing.
    """

    table: Table
    records: dict[str, Records]
    reasons: dict[str, list[str]]

    @property
    def metrics(self) -> list[str]:
        """Metrics shown: those reported or scored again, else the usual ones."""
        said = dict.fromkeys(name for row in self.table.rows for name in [*row.metrics, *row.reported])
        if not said:
            return columns("curve", self._held or None)
        usual = columns("curve", said)
        return usual + [name for name in said if name not in usual]

    @property
    def _held(self) -> set[str]:
        return {name for runs in self.records.values() for record in runs.values() for name in record.metrics}

    @property
    def ways(self) -> list[str]:
        """Ways of predicting shown: single draws too where there are several."""
        draws = [record.draws for runs in self.records.values() for record in runs.values()]
        return [DECLARED, SINGLE] if max(draws, default=1) > 1 else [DECLARED]

    def reported_gap(self, row: Row, metric: str) -> float | None:
        """Reported value minus that of the reference."""
        reference = next(other for other in self.table.rows if other.label == self.table.reference)
        if row is reference or metric not in row.reported or metric not in reference.reported:
            return None
        return row.reported[metric] - reference.reported[metric]

    def score(self, row: Row, metric: str, way: str = DECLARED) -> Score | None:
        """What was measured, None where nothing is or it is undefined."""
        return score_of(self.records[row.label], metric, way)

    def gap(self, row: Row, metric: str, way: str = DECLARED) -> Gap | None:
        """Measured difference from the reference, None for itself and where there is none."""
        if row.label == self.table.reference:
            return None
        return gap_of(self.records[row.label], self.records[self.table.reference], metric, way)


@dataclass(frozen=True)
class Ablated:
    """Everything the folder of an ablation holds.

    Args:
        manifest: what defines its tables.
        results: its runs, as those of a sweep over one panel size.
        found: its tables.
    """

    manifest: AblationManifest
    results: Results
    found: list[Found]


def read_ablation(out: Path, truths: Truths | None = None) -> Ablated:
    """Read the folder of an ablation; predictions that a table scores again are read too.

    Args:
        out: the folder.
        truths: where the truth for scoring again comes from; None where there is none.

    Raises:
        UserError: it belongs to no ablation, or two cells have different tasks.
    """
    results = read_results(out, AblationManifest)
    manifest = results.manifest
    assert isinstance(manifest, AblationManifest)
    reader = _Reader(out, manifest, results, truths)
    return Ablated(manifest, results, [reader.table(table) for table in manifest.tables])


class _Reader:
    """Finds the runs of rows; scores again once, whatever the number of rows that ask for it."""

    def __init__(self, out: Path, manifest: AblationManifest, results: Results, truths: Truths | None) -> None:
        self._out, self._manifest, self._truths = out, manifest, truths
        self._runs = {name: {one.seed: one for one in records} for (name, _), records in results.records.items()}
        self._troubles: dict[str, list[str]] = {}
        for trouble in results.troubles:
            said = f"{trouble.status}: {trouble.reason}"
            self._troubles.setdefault(trouble.series, []).append(said)
        self._again: dict[tuple[str, str], Records | str] = {}

    def table(self, table: Table) -> Found:
        """A table with the runs of its rows."""
        rows = {row.label: self._row(row) for row in table.rows}
        records = {label: runs for label, (runs, _) in rows.items()}
        return Found(table, records, {label: reasons for label, (_, reasons) in rows.items() if reasons})

    def _row(self, row: Row) -> tuple[Records, list[str]]:
        if row.run is None:
            return {}, []
        reasons = list(dict.fromkeys(self._troubles.get(row.run, [])))
        if not row.metrics:
            return self._runs.get(row.run, {}), reasons
        again = self._rescored(row.run, row)
        return (again, reasons) if isinstance(again, dict) else ({}, [*reasons, f"failed: {again}"])

    def _rescored(self, run: str, row: Row) -> Records | str:
        """The runs scored again, or why that is impossible."""
        key = run, json.dumps(row.metrics, sort_keys=True)
        if key not in self._again:
            self._again[key] = self._scored(run, row)
        return self._again[key]

    def _scored(self, run: str, row: Row) -> Records | str:
        if self._truths is None:
            return "expected the cohort to score it again, found none; stbench ablate does it"
        try:
            return {
                seed: rescore(self._folder(run, seed), self._truths, row.metrics) for seed in self._runs.get(run, {})
            }
        except UserError as error:
            return str(error)

    def _folder(self, run: str, seed: int) -> Path:
        series = next(one for one in self._manifest.series if one.name == run)
        fold, scale = self._manifest.folds[0].name, self._manifest.asked.normalization[0]
        return self._out / address(self._manifest, series, fold, scale, self._manifest.genes[0], seed)


def per_slide(record: Record, metric: str, way: str) -> dict[str, float | None]:
    """Slide to value; the one prediction of a method without draws counts as its single draw."""
    has_draws = bool(record.metrics_single_draw)
    return values_of(record, way if has_draws else DECLARED).get(metric, {})


def score_of(records: Records, metric: str, way: str) -> Score | None:
    """A metric of runs that differ in their seed alone."""
    by_seed = [per_slide(record, metric, way) for record in records.values()]
    slides = dict.fromkeys(slide for values in by_seed for slide in values)
    over = [mean_of([values.get(slide) for values in by_seed]) for slide in slides]
    mean = mean_of(over)
    if mean is None:
        return None
    return Score(mean, std_of(over), std_of([mean_of(list(values.values())) for values in by_seed]))


def gap_of(first: Records, second: Records, metric: str, way: str) -> Gap | None:
    """First minus second over the seeds and slides that both have; None where there are none."""
    by_seed = {seed: _differences(first[seed], second[seed], metric, way) for seed in sorted({*first} & {*second})}
    per_seed = {seed: sum(found.values()) / len(found) for seed, found in by_seed.items() if found}
    if not per_seed:
        return None
    values = list(per_seed.values())
    slides = dict.fromkeys(slide for found in by_seed.values() for slide in found)
    over = {slide: _mean([found[slide] for found in by_seed.values() if slide in found]) for slide in slides}
    beyond = over_patients(over, next(iter(first.values())).task)
    return Gap(per_seed, half_width(values) if len(values) > 1 else None, beyond.half if beyond else None)


def _differences(first: Record, second: Record, metric: str, way: str) -> dict[str, float]:
    one, other = per_slide(first, metric, way), per_slide(second, metric, way)
    pairs = {slide: (value, other.get(slide)) for slide, value in one.items()}
    return {slide: a - b for slide, (a, b) in pairs.items() if a is not None and b is not None}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
