"""Output of 10x Space Ranger, one folder per slide: ``filtered_feature_bc_matrix.h5`` and ``spatial/``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from stbench.data.cohort import Cohort
from stbench.data.geometry import check_one_section, doubts
from stbench.data.hdf5 import check_header
from stbench.data.readers.controls import without_controls
from stbench.data.readers.counts import (
    as_counts,
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
from stbench.data.readers.positions import read_positions
from stbench.data.readers.preview import choose_picture
from stbench.data.readers.scales import OFF_ARRAY, pixel_size, read_scales
from stbench.data.readers.spaceranger_folders import MATRIX, POSITIONS, missing_positions, others, places, unread
from stbench.data.slide import ARRAY, SPATIAL, TOTAL_COUNTS, Slide
from stbench.data.sparse import check_sparse
from stbench.errors import DataError
from stbench.reading import check_table
from stbench.text import few

if TYPE_CHECKING:
    import pandas as pd

GENE_ID = "gene_ids"  # var: Ensembl id, scanpy's name for it
ALL_GENES = "sum_umi_all_genes"  # layers.tsv: UMI over all genes, where the matrix holds a subset
_PICTURES = (("tissue_hires_image.png", "tissue_hires_scalef"), ("tissue_lowres_image.png", "tissue_lowres_scalef"))


@dataclass(frozen=True)
class _Files:
    folder: Path

    @property
    def matrix(self) -> Path:
        return self.folder / MATRIX

    @property
    def spatial(self) -> Path:
        return self.folder / "spatial"

    @property
    def positions(self) -> Path | None:
        return next((self.spatial / name for name in POSITIONS if (self.spatial / name).is_file()), None)

    @property
    def scales(self) -> Path:
        return self.spatial / "scalefactors_json.json"

    @property
    def previews(self) -> list[tuple[Path, str]]:
        """Pictures and the names of their scale factors, the best first."""
        return [(self.spatial / name, key) for name, key in _PICTURES if (self.spatial / name).is_file()]

    @property
    def places(self) -> list[Path]:
        """Where the microscope's picture may lie."""
        return [self.folder, self.folder.parent] if self.folder.name == "outs" else [self.folder]

    @property
    def layers(self) -> Path:
        return self.folder / "layers.tsv"


def recognises(folder: Path) -> bool:
    """Whether a folder is, or holds, output of Space Ranger."""
    return bool(_slides(folder) or unread(folder, ()))


def open_spaceranger(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the slides; no matrix is read."""
    files = _slides(folder)
    found = [Found(slide_id, _subject(each.layers), _reason(each, require_image)) for slide_id, each in files.items()]
    left_out = unread(folder, files)
    found += [Found(slide_id, reason=reason) for slide_id, reason in left_out.items()]
    cohort = make_cohort(name, "spaceranger", found, slides, partial(_read, files))
    empty = others(folder, [*files, *left_out])
    return replace(cohort, notes=(f"folders without a slide: {few(empty)}",)) if empty and not slides else cohort


def _slides(folder: Path) -> dict[str, _Files]:
    named = {folder.resolve().name: folder, **{place.name: place for place in places(folder)}}
    each = ((name, inner) for name, place in named.items() for inner in (place, place / "outs"))
    return {name: _Files(inner) for name, inner in each if (inner / MATRIX).is_file()}


def _reason(files: _Files, require_image: bool) -> str:
    if files.positions is None:
        return missing_positions(files.spatial)
    if require_image and not (files.previews and files.scales.is_file()):
        return (
            "no picture: expected spatial/tissue_hires_image.png or tissue_lowres_image.png, and scalefactors_json.json"
        )
    return ""


def _subject(layers: Path) -> str | None:
    """The patient, where annotations lie beside the matrix."""
    if not layers.is_file():
        return None
    first: dict[str, str] = {}
    with suppress(OSError, csv.Error), layers.open(encoding="utf-8", errors="replace", newline="") as file:
        first = next(csv.DictReader(file, delimiter="\t"), {})  # what is wrong is said where the slide is read
    return text_or_none(first.get("subject"))


def _read(slides: Mapping[str, _Files], slide_id: str, patient: str | None) -> Slide:
    files = slides[slide_id]
    adata, notes, orders = _spots(files)
    spots, where = list(adata.obs_names), str(files.positions)
    xy = np.asarray(adata.obsm[SPATIAL], dtype=np.float64)
    columns = adata.obs[["array_col", "array_row"]].to_numpy(dtype=np.float64)
    check_one_section(xy, spots, sorted({spot.rpartition("-")[2] for spot in spots}), where)
    scales = read_scales(files.scales)
    um_per_px, doubted = pixel_size(columns, xy, scales, spots, where)
    image, about = choose_picture(files.previews, files.places, scales, um_per_px)
    check_inside(xy, None if image is None else image.size(), spots, where)
    array, turned = oriented(columns, xy)
    adata.obsm[SPATIAL], adata.obsm[ARRAY] = xy.astype(np.float32), array
    doubted += doubts(xy, columns, None, None, spots, OFF_ARRAY)
    return Slide(slide_id, patient, adata, image, um_per_px, (*notes, *turned, *doubted, *about), orders)


def _spots(files: _Files) -> tuple[Any, list[str], tuple[str, ...]]:
    """AnnData of the spots under tissue that have counts and a position, notes, files that list them otherwise."""
    from anndata import AnnData

    counts, barcodes, genes = read_matrix(files.matrix)
    positions = read_positions(files.positions or files.spatial / "tissue_positions_list.csv")
    shared, notes = match_spots(barcodes, list(positions.index), (str(files.matrix), str(files.positions)))
    notes = [note for note in notes if "no counts" not in note]  # all 4992 positions are listed, tissue or not
    under = [barcode for barcode in shared if positions.at[barcode, "in_tissue"] == 1]
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
    notes += merged + controls + (_annotate(adata, files.layers) if files.layers.is_file() else [])
    return adata, notes, other_orders(under, {"the table of positions": list(positions.index)})


def _merged_ids(genes: pd.DataFrame, symbols: list[str], column: Any) -> pd.DataFrame:
    """Ensembl ids of every symbol, joined by a semicolon where several carry it."""
    import pandas as pd

    ids = genes[GENE_ID].groupby(column).agg(";".join)
    return pd.DataFrame({GENE_ID: ids.to_numpy()}, index=symbols)


def read_matrix(path: Path) -> tuple[csr_matrix, list[str], pd.DataFrame]:
    """Read a 10x feature-barcode matrix (HDF5, version 3); features other than gene expression are left out.

    Returns:
        (n_spots, n_genes) int32 counts, barcodes, and a table of the genes: index symbol, column ``gene_ids``.

    Raises:
        DataError: truncated, of another layout, or counts that are no raw counts.
    """
    import h5py
    import pandas as pd

    try:
        check_header(path)
        with h5py.File(path) as file:
            group = file["matrix"]
            parts = [group[key][:] for key in ("data", "indices", "indptr")]
            n_genes, n_spots = (int(n) for n in group["shape"][:])
            barcodes = _texts(group["barcodes"][:])
            names, ids, kinds = (_texts(group["features"][key][:]) for key in ("name", "id", "feature_type"))
        _check_lengths(n_genes, name=names, id=ids, feature_type=kinds)
        # Stored by columns as genes x barcodes, which is barcodes x genes by rows.
        matrix = csr_matrix(tuple(parts), shape=(n_spots, n_genes))
        check_sparse(matrix, "matrix")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError) as error:
        found = " ".join(str(error).split())
        raise DataError(f"{path}: expected a 10x matrix in HDF5, found: {found}; obtain the file again") from error
    check_unique(barcodes, "spot", str(path))
    genes = np.flatnonzero(np.array(kinds) == "Gene Expression")
    counts = as_counts(matrix, barcodes, names, str(path))[:, genes]
    table = pd.DataFrame({GENE_ID: [ids[i] for i in genes]}, index=[names[i] for i in genes])
    return csr_matrix(counts), barcodes, table


def _check_lengths(n_genes: int, **features: list[str]) -> None:
    for key, found in features.items():
        if len(found) != n_genes:
            raise ValueError(f"{len(found)} entries of features/{key} for {n_genes} genes")


def _texts(raw: Any) -> list[str]:
    return [text.decode() if isinstance(text, bytes) else str(text) for text in raw]


def _annotate(adata: Any, path: Path) -> list[str]:
    """Put the columns of ``layers.tsv`` into obs, and the totals over all genes where it has them."""
    import pandas as pd

    try:
        check_table(path)
        table = pd.read_csv(path, sep="\t")
    except (OSError, ValueError) as error:
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
