"""Writes page and numbers of an ablation: a pure function of what its folder holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from stbench.pages.columns import columns
from stbench.studies.ablation.manifest import Row
from stbench.studies.ablation.page import page
from stbench.studies.ablation.results import Ablated, Found, per_slide, read_ablation
from stbench.studies.sweep.report import write_texts
from stbench.text import csv_cell

COLUMNS = (
    *("table", "row", "reference", "run", "what", "dataset", "origin", "genes", "preset", "metric", "way"),
    *("seed", "slide", "patient", "value", "half_over_seeds", "half_over_patients"),
)


def write_report(out: Path) -> list[Path]:
    """Write ``<cohort>-ablate-<method>-g<genes>-<split>-<digits>.md`` and ``.csv`` into the folder of an ablation.

    The same records give the same bytes, whatever was run last.

    Args:
        out: folder that holds ``ablation.json`` and the cells.

    Returns:
        The files written.

    Raises:
        UserError: it is no ablation, its records contradict each other, or it cannot be written.
    """
    return write_ablated(out, read_ablation(out))


def write_ablated(out: Path, ablated: Ablated) -> list[Path]:
    """The same of what was read already."""
    name = ablated.manifest.name
    return write_texts(out, {f"{name}.md": page(ablated), f"{name}.csv": numbers(ablated)})


def numbers(ablated: Ablated) -> str:
    """Long format: reported values, measured ones by seed and slide, and differences from the row of reference.

    ``what`` is ``reported``, ``reported difference``, ``measured`` or ``difference``; reported lines have the dataset,
    panel size and preset they were reported for. A ``difference`` has one line per seed, its mean over slides, and one
    without a seed, the mean over seeds with half its 95 % t intervals. ``way`` is ``declared`` or ``single draw``.
    """
    text = io.StringIO()
    write = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    write.writeheader()
    for found in ablated.found:
        for row in found.table.rows:
            place = {
                "table": found.table.table,
                "row": row.label,
                "reference": found.table.reference,
                "run": row.run or "",
            }
            for line in [*_reported(found, row), *_measured(ablated, found, row)]:
                said = {**place, **line}
                write.writerow({name: csv_cell(x) if isinstance(x, str) else x for name, x in said.items()})
    return text.getvalue()


def _reported(found: Found, row: Row) -> Iterator[dict[str, object]]:
    said = found.table.conditions
    facts = {"dataset": said.dataset or "", "genes": said.genes or "", "preset": said.preset or ""}
    for metric, value in row.reported.items():
        yield {**facts, "what": "reported", "metric": metric, "value": repr(value)}
        gap = found.reported_gap(row, metric)
        if gap is not None:
            yield {**facts, "what": "reported difference", "metric": metric, "value": repr(gap)}


def _measured(ablated: Ablated, found: Found, row: Row) -> Iterator[dict[str, object]]:
    manifest, task = ablated.manifest, ablated.results.task
    facts: dict[str, object] = {"dataset": manifest.cohort, "genes": manifest.genes[0], "preset": manifest.preset}
    facts["origin"] = task.origin if task else ""
    for way in found.ways:
        for metric in dict.fromkeys([*columns("curve"), *found.metrics]):
            here = {**facts, "metric": metric, "way": way}
            yield from ({**here, **line} for line in _values(found, row, metric, way))
            yield from ({**here, **line} for line in _gaps(found, row, metric, way))


def _values(found: Found, row: Row, metric: str, way: str) -> Iterator[dict[str, object]]:
    for seed, record in found.records[row.label].items():
        for slide, value in per_slide(record, metric, way).items():
            shown = "" if value is None else repr(value)
            patient = record.task.patients.get(slide) or ""
            yield {"what": "measured", "seed": seed, "slide": slide, "patient": patient, "value": shown}


def _gaps(found: Found, row: Row, metric: str, way: str) -> Iterator[dict[str, object]]:
    gap = found.gap(row, metric, way)
    if gap is None:
        return
    for seed, value in gap.per_seed.items():
        yield {"what": "difference", "seed": seed, "value": repr(value)}
    halves = {"half_over_seeds": gap.over_seeds, "half_over_patients": gap.over_patients}
    shown = {name: repr(half) for name, half in halves.items() if half is not None}
    yield {"what": "difference", "value": repr(gap.mean), **shown}
