"""Output of 10x Space Ranger: one folder per slide, or many slides in one whose files begin with their names."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stbench.data.cohort import Cohort
from stbench.data.geometry import check_one_section, doubts
from stbench.data.readers.controls import without_controls
from stbench.data.readers.counts import (
    check_columns,
    check_inside,
    check_unique,
    match_spots,
    merge_genes,
    numbers,
    oriented,
    other_orders,
    totals,
)
from stbench.data.readers.layout import Entry, Found, Layout, make_cohort, text_or_none
from stbench.data.readers.matrices import GENE_ID, read_matrix
from stbench.data.readers.positions import read_positions
from stbench.data.readers.preview import choose_picture
from stbench.data.readers.scales import OFF_ARRAY, pixel_size, read_scales
from stbench.data.readers.spaceranger_files import MATRIX, Files, slides_in
from stbench.data.readers.spaceranger_folders import clashes, missing_positions, others, unread
from stbench.data.slide import ARRAY, SPATIAL, TOTAL_COUNTS, Slide
from stbench.errors import DataError
from stbench.files import visible
from stbench.reading import UNREADABLE, check_table, opened
from stbench.text import few

if TYPE_CHECKING:
    import pandas as pd

ALL_GENES = "sum_umi_all_genes"  # layers.tsv: UMI over all genes, where the matrix holds a subset


def recognises(folder: Path) -> bool:
    """Whether a folder is, or holds, output of Space Ranger; parts of slides beside ``.h5ad`` files are none."""
    return bool(slides_in(folder) or (unread(folder, ()) and not any(visible(folder.glob("*.h5ad")))))


def open_spaceranger(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the slides; no matrix is read."""
    there = slides_in(folder)
    twice, files = clashes(there), dict(there)
    found = [
        Found(slide_id, _subject(each.layers), twice.get(slide_id) or _reason(each, require_image))
        for slide_id, each in files.items()
    ]
    known = set(files).union(*(each.within(folder) for _, each in there))
    left_out = unread(folder, known)
    found += [Found(slide_id, reason=reason) for slide_id, reason in left_out.items()]
    cohort = make_cohort(name, "spaceranger", found, slides, partial(_read, files))
    empty = others(folder, [*known, *left_out])
    return replace(cohort, notes=(f"folders without a slide: {few(empty)}",)) if empty and not slides else cohort


def _reason(files: Files, require_image: bool) -> str:
    if isinstance(files.matrix, str):
        return files.matrix
    if files.positions is None:
        return missing_positions(files)
    if require_image and not (files.previews and files.scales.is_file()):
        return (
            f"no picture: expected {files.spatial}tissue_hires_image.png or tissue_lowres_image.png, and "
            "scalefactors_json.json"
        )
    return ""


def _subject(layers: Path | None) -> str | None:
    """The patient, where annotations lie beside the matrix."""
    if layers is None:
        return None
    first: dict[str, str] = {}
    # What is wrong is said where the slide is read.
    with suppress(*UNREADABLE, csv.Error), TextIOWrapper(opened(layers), "utf-8", "replace", newline="") as text:
        first = next(csv.DictReader(text, delimiter="\t"), {})
    return text_or_none(first.get("subject"))


def _read(slides: Mapping[str, Files], slide_id: str, patient: str | None) -> Slide:
    files = slides[slide_id]
    adata, notes, orders = _spots(files)
    spots, where = list(adata.obs_names), str(files.positions)
    xy = np.asarray(adata.obsm[SPATIAL], dtype=np.float64)
    columns = adata.obs[["array_col", "array_row"]].to_numpy(dtype=np.float64)
    check_one_section(xy, spots, sorted({spot.rpartition("-")[2] for spot in spots}), where)
    scales = read_scales(files.scales)
    um_per_px, doubted = pixel_size(columns, xy, scales, spots, where)
    image, about = choose_picture(files.previews, files.candidates(), files.target, scales, um_per_px)
    check_inside(xy, None if image is None else image.size(), spots, where)
    array, turned = oriented(columns, xy)
    adata.obsm[SPATIAL], adata.obsm[ARRAY] = xy.astype(np.float32), array
    doubted += doubts(xy, columns, None, None, spots, OFF_ARRAY)
    return Slide(
        slide_id,
        patient,
        adata,
        image,
        um_per_px,
        (*notes, *turned, *doubted, *about, *([files.chosen] if files.chosen else ())),
        orders,
    )


def _spots(files: Files) -> tuple[Any, list[str], tuple[str, ...]]:
    """AnnData of the spots under tissue that have counts and a position, notes, files that list them otherwise."""
    from anndata import AnnData

    assert files.positions is not None  # or the slide would have been left out
    assert not isinstance(files.matrix, str)
    counts, barcodes, genes, other_features = read_matrix(files.matrix)
    positions = read_positions(files.positions)
    shared, notes = match_spots(barcodes, list(positions.index), (str(files.matrix), str(files.positions)))
    notes = [note for note in notes if "no counts" not in note]  # all 4992 positions are listed, tissue or not
    inside = positions.loc[shared, "in_tissue"].to_numpy() == 1
    under = [barcode for barcode, is_inside in zip(shared, inside, strict=True) if is_inside]
    if not under:
        raise DataError(f"{files.positions}: expected spots with in_tissue = 1, found none; obtain the file again")
    if len(under) < len(shared):
        notes.append(f"{len(shared) - len(under)} spots outside the tissue left out")
    row = {barcode: i for i, barcode in enumerate(barcodes)}
    kept = positions.loc[under]
    matrix, symbols, column, merged = merge_genes(counts[[row[barcode] for barcode in under]], list(genes.index))
    obs = kept[["in_tissue", "array_row", "array_col"]].astype(np.int64)
    adata, controls = without_controls(AnnData(matrix, obs=obs, var=_merged_ids(genes, symbols, column)))
    adata.obsm[SPATIAL] = kept[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    adata.obs[TOTAL_COUNTS] = totals(adata.X)
    notes += other_features + merged + controls + (_annotate(adata, files.layers) if files.layers else [])
    return adata, notes, other_orders(under, {"the table of positions": list(positions.index)})


def _merged_ids(genes: pd.DataFrame, symbols: list[str], column: Any) -> pd.DataFrame:
    """Ensembl ids of every symbol, joined by a semicolon where several carry it."""
    import pandas as pd

    ids = genes[GENE_ID].groupby(column).agg(";".join)
    return pd.DataFrame({GENE_ID: ids.to_numpy()}, index=symbols)


def _annotate(adata: Any, path: Path) -> list[str]:
    """Put the columns of ``layers.tsv`` into obs, and the totals over all genes where it has them."""
    import pandas as pd

    try:
        check_table(path)
        table = pd.read_csv(path, sep="\t")
    except UNREADABLE as error:
        raise DataError(f"{path}: expected a table of spots, found: {' '.join(str(error).split())}") from error
    check_columns(table, ["barcode"], str(path))
    check_unique([str(barcode) for barcode in table["barcode"]], "spot", str(path))
    joined = table.set_index("barcode").reindex(adata.obs_names)
    for column in joined.columns:
        values = joined[column]
        text = values.dtype == object
        adata.obs[column] = pd.Categorical(values) if text else values.to_numpy()
    missing = sorted(set(adata.obs_names) - set(table["barcode"]))
    if ALL_GENES in joined.columns:
        _use_totals(adata, joined, missing, path)
    return [f"{len(missing)} spots without a row in {path.name}"] if missing else []


def _use_totals(adata: Any, joined: pd.DataFrame, missing: list[str], path: Path) -> None:
    if missing:
        raise DataError(
            f"{path}: expected {ALL_GENES} of every spot, found none of {missing[0]} ({len(missing)} in all); "
            "add the rows, or remove the column to sum over the genes of the matrix"
        )
    said = numbers(joined, [ALL_GENES], str(path))[:, 0]
    low = np.flatnonzero(said < adata.obs[TOTAL_COUNTS].to_numpy())
    if len(low):
        raise DataError(
            f"{path}: expected {ALL_GENES} of at least the {adata.obs[TOTAL_COUNTS].iloc[low[0]]:.0f} UMI of the "
            f"matrix at {adata.obs_names[low[0]]}, found {said[low[0]]:.0f}; matrix and table differ in slide or unit"
        )
    adata.obs[TOTAL_COUNTS] = said


LAYOUT = Layout(
    signature=f"<slide>/{MATRIX}, <slide>/spatial/tissue_positions_list.csv, <slide>/spatial/scalefactors_json.json",
    recognises=recognises,
    open=open_spaceranger,
)
