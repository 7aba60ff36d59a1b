"""What a sweep found: the records of its folder by series and panel size, and their numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stbench.errors import DataError, UserError
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.evaluation.record import DrawSummary, Record, Summary, TaskFacts, read_record
from stbench.evaluation.summaries import mean_of, std_of
from stbench.grids.cells import Failures
from stbench.grids.manifest import Manifest, Series, read_manifest
from stbench.grids.plan import address
from stbench.pages.columns import columns
from stbench.pages.protocol import Line, Protocol, lines_of
from stbench.pages.rows import CEILINGS, DECLARED, POSTERIOR, SINGLE, Cell, Group, Row, rows_of, standing
from stbench.pages.sections import Section
from stbench.studies.sweep.grid import SweepManifest
from stbench.text import csv_cell


@dataclass(frozen=True)
class Trouble:
    """A cell without numbers.

    Args:
        folder: its name.
        series: series or ceiling; empty for ceilings that were never computed.
        status: ``refused``, ``failed`` or ``missing``.
        reason: why.
    """

    folder: str
    series: str
    status: str
    reason: str


@dataclass(frozen=True)
class Results:
    """Everything a sweep's folder holds.

    Args:
        manifest: what defines its cells.
        records: series or ceiling, and panel size, to the finished records of its seeds.
        troubles: cells without numbers.
    """

    manifest: Manifest
    records: dict[tuple[str, int], list[Record]]
    troubles: list[Trouble]

    @property
    def asked(self) -> list[Series]:
        """What the user named, a curve each."""
        return [series for series in self.manifest.series if not series.control]

    @property
    def controls(self) -> list[Series]:
        """What runs beside it, but for ceilings."""
        return [one for one in self.manifest.series if one.control and standing(one.kind).block != CEILINGS]

    @property
    def ceilings(self) -> list[str]:
        """Names of the ceilings that have numbers, but for those with a curve."""
        curves = {series.name for series in self.asked}
        found = {name for (name, _), runs in self.records.items() if standing(runs[0].kind).block == CEILINGS}
        return [name for name in dict.fromkeys(name for name, _ in self.records) if name in found - curves]

    @property
    def task(self) -> TaskFacts | None:
        """Facts of the largest panel that was run; but for hash and panel they are those of all cells."""
        sizes = [(genes, records) for (_, genes), records in self.records.items() if records]
        return max(sizes, key=lambda pair: pair[0])[1][0].task if sizes else None

    @property
    def tasks(self) -> list[TaskFacts]:
        """Facts of every fold of the largest panel that was run."""
        largest = max((genes for _, genes in self.records), default=0)
        runs = [record for (_, genes), some in self.records.items() if genes == largest for record in some]
        return list({run.task.protocol: run.task for run in runs}.values())

    @property
    def folded(self) -> bool:
        """Whether it was asked for on several folds."""
        return len(self.manifest.folds) > 1

    @cached_property
    def boards(self) -> dict[int, Protocol]:
        """Panel size to the board of its folds, a row per series and way of predicting.

        Raises:
            UserError: the folds of a size are of several protocols.
        """
        return {genes: _board(self.records, genes) for genes in sorted({genes for _, genes in self.records})}

    @property
    def band(self) -> str:
        """What the light band around a curve of several folds is."""
        given = {board.has_intervals for board in self.boards.values()}
        said = {True: "95 % t interval over patients", False: "lowest to highest patient"}
        return ", else ".join(said[one] for one in sorted(given, reverse=True))

    def line(self, name: str, genes: int, way: str = DECLARED) -> Line | None:
        """A series on all folds of one panel size, None where it has no such row."""
        lines = self.boards[genes].lines if genes in self.boards else []
        return next((line for line in lines if (line.method, line.way) == (name, way)), None)

    @property
    def metrics(self) -> list[str]:
        """Metrics that curves are drawn of: what their cards declare, and some record holds."""
        return columns("curve", {name for runs in self.records.values() for run in runs for name in run.metrics})

    def group(self, name: str, genes: int) -> Group | None:
        """Finished runs of one series at one panel size, None where there are none."""
        records = self.records.get((name, genes))
        return Group(name, tuple(records)) if records else None

    def rows(self, name: str, genes: int) -> list[Row]:
        """Rows of a series at one panel size, the declared prediction first."""
        group = self.group(name, genes)
        return rows_of(group) if group else []


def read_results(out: Path, kind: type[Manifest] = SweepManifest) -> Results:
    """Read the folder of a sweep, or of a grid of another kind.

    Raises:
        UserError: it belongs to no such grid, or two cells of one panel size have different tasks.
    """
    manifest = read_manifest(out, kind)
    if manifest is None:
        said = f"found none; give the folder that stbench {kind.COMMAND} wrote"
        raise UserError(f"expected {kind.A_KIND} in {out}, {said}")
    failures = Failures(out).reasons
    found: dict[tuple[str, int], list[Record]] = {}
    troubles = []
    for series, genes, folder in _cells(manifest):
        record = _read(out / folder)
        if record is not None and record.status == "done":
            found.setdefault((series.name, genes), []).append(record)
        else:
            troubles.append(_trouble(folder, series.name, record, failures.get(folder)))
    _check_tasks(found)
    return Results(manifest, found, troubles)


def _cells(manifest: Manifest) -> Iterator[tuple[Series, int, str]]:
    """Curve by curve; ceilings last, panel by panel."""
    scale = manifest.asked.normalization[0]
    bounds = [one for one in manifest.series if one.ceiling]
    pairs = [(one, genes) for one in manifest.series if not one.ceiling for genes in manifest.genes]
    for series, genes in [*pairs, *((one, genes) for genes in manifest.genes for one in bounds)]:
        for fold in manifest.folds:
            for seed in [manifest.control_seed] if series.control else manifest.seeds:
                yield series, genes, address(manifest, series, fold.name, scale, genes, seed)


def _read(folder: Path) -> Record | None:
    try:
        return read_record(folder) if (folder / RECORD).is_file() else None
    except DataError:
        return None


def _trouble(folder: str, series: str, record: Record | None, reason: str | None) -> Trouble:
    if reason is not None:
        return Trouble(folder, series, "failed", reason)
    if record is not None:
        return Trouble(folder, series, record.status, record.reason or "")
    return Trouble(folder, series, "missing", "not run yet")


def _check_tasks(found: dict[tuple[str, int], list[Record]]) -> None:
    tasks: dict[tuple[int, str], str] = {}
    for (name, genes), records in found.items():
        for record in records:
            known = tasks.setdefault((genes, record.task.protocol), record.task.hash)
            if known != record.task.hash:
                raise UserError(
                    f"expected one task for {genes} genes, found {known[:8]} and {record.task.hash[:8]} "
                    f"({name}): data or code changed in between; choose another --out"
                )


def _board(records: Mapping[tuple[str, int], Sequence[Record]], genes: int) -> Protocol:
    """All series of one panel size; runs of a fold that differ in their seed alone are one group."""
    folds: dict[str, dict[str, list[Record]]] = {}
    for (name, size), runs in records.items():
        for run in runs if size == genes else []:
            folds.setdefault(run.task.protocol, {}).setdefault(name, []).append(run)
    sections = [_section(series) for series in folds.values()]
    return Protocol(sections, lines_of(sections))


def _section(series: Mapping[str, Sequence[Record]]) -> Section:
    groups = [Group(name, tuple(runs)) for name, runs in series.items()]
    return Section(groups[0].first.task, groups, [row for group in groups for row in rows_of(group)])


def over_seeds(group: Group, metric: str, way: str) -> float | None:
    """Sample standard deviation over seeds of the mean over slides, None below two seeds."""
    return std_of([mean_of(list(values_of(record, way).get(metric, {}).values())) for record in group.done])


def values_of(record: Record, way: str) -> dict[str, dict[str, float | None]]:
    """Metric to slide to value, for one way of predicting; the slide is empty for pooled metrics."""
    return {metric: slides_of(record, way, metric) for metric in _summaries(record, way)}


def slides_of(record: Record, way: str, metric: str) -> dict[str, float | None]:
    """Slide to value of one metric, averaged over draws; empty where a way of predicting has no such metric."""
    found = _summaries(record, way).get(metric)
    if found is None:
        return {}
    if isinstance(found, DrawSummary):
        return {slide: mean_of(draws) for slide, draws in found.per_slide.items()} or {"": found.mean}
    return found.per_slide or {"": found.mean}


def _summaries(record: Record, way: str) -> Mapping[str, Summary] | Mapping[str, DrawSummary]:
    if way == SINGLE:
        return record.metrics_single_draw
    return record.metrics if way == DECLARED else record.metrics_posterior_mean


def results_csv(results: Results) -> str:
    """One line per series, panel size, seed, way of predicting, metric and slide.

    Columns ``series``, ``method``, ``kind``, ``genes``, ``seed``, ``row`` (``declared``: the mean of ``draws`` draws,
    or the one prediction; ``single draw``: the mean over draws of a draw's score; ``posterior mean``), ``draws``,
    ``metric``, ``slide`` (empty for pooled metrics), ``patient``, ``value`` (empty where undefined). Of several folds
    ``fold`` stands behind the seed.
    """
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    fold = ["fold"] if results.folded else []
    write(["series", "method", "kind", "genes", "seed", *fold, "row", "draws", "metric", "slide", "patient", "value"])
    for (name, genes), records in results.records.items():
        for record in records:
            said = [csv_cell(record.task.protocol)] if results.folded else []
            for line in _lines(record):
                write([csv_cell(name), csv_cell(record.method), record.kind, genes, record.seed, *said, *line])
    return text.getvalue()


def _lines(record: Record) -> Iterator[Sequence[object]]:
    for way in (DECLARED, SINGLE, POSTERIOR):
        for metric, slides in values_of(record, way).items():
            for slide, value in slides.items():
                said = [csv_cell(text) for text in (metric, slide, record.task.patients.get(slide) or "")]
                yield way, record.draws, *said, "" if value is None else repr(value)


def cell_of(row: Row, metric: str) -> Cell | None:
    """A metric of a row where it has a value."""
    cell = row.cells.get(metric)
    return cell if cell is not None and cell.mean is not None else None
