"""What users say of slides beside the files of a layout: whose they are, what their genes are called."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from stbench.data.cohort import Cohort
from stbench.data.patients import patient_key
from stbench.data.readers.counts import merge_genes
from stbench.data.readers.gene_table import read_gene_table, symbols_of
from stbench.data.readers.layout import text_or_none
from stbench.data.readers.positions import spelling
from stbench.data.readers.spatialdata_listing import SUFFIX as ZARR
from stbench.data.slide import Slide
from stbench.errors import DataError
from stbench.text import few, first_line

PATIENTS = "patients.csv"
_COLUMNS = ("slide", "patient")


def with_patients(cohort: Cohort, table: Path | None) -> Cohort:
    """A cohort whose slides are of the patients that a table says; those it does not name are as before.

    Args:
        cohort: the slides.
        table: CSV with the columns ``slide`` and ``patient``; ``patients.csv`` of the cohort's folder, or beside a
            cohort that is one file or store, if it is there, when None.

    Raises:
        DataError: no such table, or a slide with two patients.
    """
    path = _beside(cohort.folder) if table is None and cohort.folder is not None else table
    if path is None:
        return cohort
    said = read_patients(path)
    patients = {ref.id: said.get(ref.id, ref.patient) for ref in cohort.refs}

    def read(slide_id: str) -> Slide:
        return replace(cohort.reader(slide_id), patient=patients[slide_id])

    refs = tuple(replace(ref, patient=patients[ref.id]) for ref in cohort.refs)
    return replace(cohort, refs=refs, reader=read, notes=(*cohort.notes, *_notes(cohort, said, path)))


def _beside(place: Path) -> Path | None:
    """The table in a cohort's folder; a file or a store has it beside itself."""
    folder = place if place.is_dir() and place.suffix != ZARR else place.parent
    return path if (path := folder / PATIENTS).is_file() else None


def with_genes(cohort: Cohort, table: Path | None) -> Cohort:
    """A cohort whose genes are called by the symbols of a table of genes; those that it does not know keep their names.

    Columns that get one name are added up.

    Raises:
        DataError: (at once) the table is none.
    """
    if table is None:
        return cohort
    symbols = read_gene_table(table)

    def read(slide_id: str) -> Slide:
        return _renamed(cohort.reader(slide_id), symbols, table.name)

    return replace(cohort, reader=read)


def _renamed(slide: Slide, symbols: Mapping[str, str], table: str) -> Slide:
    from anndata import AnnData

    named = symbols_of(slide.genes, symbols)
    if named == slide.genes:
        return slide
    counts, genes, column, merged = merge_genes(slide.counts, named)
    var = slide.adata.var.iloc[np.unique(column, return_index=True)[1]].set_axis(genes, axis=0)
    adata = AnnData(counts, obs=slide.adata.obs, var=var, uns=dict(slide.adata.uns), obsm=dict(slide.adata.obsm))
    n_renamed = sum(one != other for one, other in zip(slide.genes, named, strict=True))
    return replace(slide, adata=adata, notes=(*slide.notes, f"{n_renamed} genes renamed by {table}", *merged))


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
        encoding, separator, first = spelling(path)
        names = [name.strip().strip('"').lower() for name in first.rstrip("\r\n").split(separator)]
        with path.open(encoding=encoding, newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=separator) if any(row)][1:]
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
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
