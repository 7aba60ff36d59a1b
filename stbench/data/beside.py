"""What users say of their own slides beside the files of a layout: whose they are."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stbench.data.cohort import Cohort
from stbench.data.patients import patient_key
from stbench.data.readers.layout import text_or_none
from stbench.data.slide import Slide
from stbench.errors import DataError
from stbench.reading import check_table
from stbench.text import few, first_line

PATIENTS = "patients.csv"
_COLUMNS = ("slide", "patient")


def with_patients(cohort: Cohort, table: Path | None) -> Cohort:
    """A cohort whose slides are of the patients that a table says; those it does not name are as before.

    Args:
        cohort: the slides.
        table: CSV with the columns ``slide`` and ``patient``; ``patients.csv`` of the cohort's folder, if it is there,
            when None.

    Raises:
        DataError: no such table, or a slide with two patients.
    """
    beside = None if cohort.folder is None else cohort.folder / PATIENTS
    path = beside if table is None and beside is not None and beside.is_file() else table
    if path is None:
        return cohort
    said = read_patients(path)
    patients = {ref.id: said.get(ref.id, ref.patient) for ref in cohort.refs}

    def read(slide_id: str) -> Slide:
        return replace(cohort.reader(slide_id), patient=patients[slide_id])

    refs = tuple(replace(ref, patient=patients[ref.id]) for ref in cohort.refs)
    return replace(cohort, refs=refs, reader=read, notes=(*cohort.notes, *_notes(cohort, said, path)))


def read_patients(path: Path) -> dict[str, str | None]:
    """Slide to patient, None where a row leaves it blank or says that it is unknown.

    Raises:
        DataError: as :func:`with_patients` says.
    """
    found: dict[str, str | None] = {}
    for number, row in enumerate(_rows(path), start=2):
        slide, patient = (row[column].strip() for column in _COLUMNS)
        said = text_or_none(patient)
        if slide and found.setdefault(slide, said) != said:
            raise DataError(
                f"{path}, row {number}: expected one patient of every slide, found {found[slide]!r} and {patient!r} of "
                f"{slide}; remove one of the rows"
            )
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        check_table(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            separator = max(",;\t", key=first.count)
            names = [name.strip().strip('"').lower() for name in first.rstrip("\r\n").split(separator)]
            rows = [row for row in csv.reader(file, delimiter=separator) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table of slides and patients, found: {first_line(error)}") from error
    if not set(_COLUMNS) <= set(names) or any(len(row) != len(names) for row in rows):
        found = f"the columns {', '.join(names)}" if not set(_COLUMNS) <= set(names) else "rows of other lengths"
        raise DataError(f"{path}: expected rows under the columns slide and patient, found {found}; correct the file")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _notes(cohort: Cohort, said: Mapping[str, str | None], path: Path) -> list[str]:
    """Slides that only one of table and folder names, and those whose files say otherwise."""
    before = {ref.id: ref.patient for ref in cohort.refs}
    unnamed = [slide for slide in before if slide not in said]
    other = [slide for slide, patient in before.items() if patient and _differs(patient, said.get(slide, patient))]
    strangers = [slide for slide in said if slide not in {*cohort.ids, *cohort.left_out}]
    return [
        *([f"{path.name} names {few(strangers)}: no such slide here"] if strangers else []),
        *([f"{path.name} does not name {few(unnamed)}: patients as their files say"] if unnamed else []),
        *([f"{path.name} gives another patient than the files of {few(other)}, and is believed"] if other else []),
    ]


def _differs(patient: str, said: str | None) -> bool:
    return said is None or patient_key(patient) != patient_key(said)
