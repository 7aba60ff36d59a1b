"""HEST-1k on disk: ``st/<id>.h5ad``, ``patches/<id>.h5`` or ``wsis/<id>.tif``, ``metadata/<id>.json``."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stbench.data.cohort import SIMULATED, Cohort
from stbench.data.hdf5 import read_h5ad
from stbench.data.images import ImageFile, PatchFile
from stbench.data.readers.annotated import array_of, one_column_per_gene, total_counts, under_tissue
from stbench.data.readers.controls import without_controls
from stbench.data.readers.counts import (
    FloatArray,
    as_counts,
    check_inside,
    check_unique,
    dense_or_sparse,
    oriented,
    other_orders,
    shown,
)
from stbench.data.readers.hest_geometry import check_corners, contradictions
from stbench.data.readers.layout import Entry, Found, Layout, make_cohort, text_or_none
from stbench.data.readers.positions import pixel_positions
from stbench.data.slide import ARRAY, SPATIAL, Slide
from stbench.errors import DataError
from stbench.files import visible
from stbench.reading import check_table, read_json
from stbench.text import few

if TYPE_CHECKING:
    from anndata import AnnData

Metadata = Mapping[str, Any]

_SAID = (
    "patient",
    "dataset_title",
    "st_technology",
    "pixel_size_um_estimated",
    "fullres_px_width",
    "fullres_px_height",
)


@dataclass(frozen=True)
class _Files:
    folder: Path
    id: str

    @property
    def st(self) -> Path:
        return self.folder / "st" / f"{self.id}.h5ad"

    @property
    def patches(self) -> Path:
        return self.folder / "patches" / f"{self.id}.h5"

    @property
    def wsi(self) -> Path:
        return self.folder / "wsis" / f"{self.id}.tif"

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata" / f"{self.id}.json"

    @property
    def preview(self) -> Path | None:
        path = self.folder / "thumbnails" / f"{self.id}_downscaled_fullres.jpeg"
        return path if path.is_file() else None


def recognises(folder: Path) -> bool:
    """Whether a folder holds spots in this layout."""
    return any(visible((folder / "st").glob("*.h5ad")))


def open_hest(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the samples; of each only its metadata are read."""
    rows = _metadata_table(folder)
    found, metadata = [], {}
    for path in sorted(visible((folder / "st").glob("*.h5ad"))):
        files = _Files(folder, path.stem)
        try:
            said = _metadata_json(files.metadata).items()
            known = {key: value for key, value in said if text_or_none(value) is not None}
            metadata[path.stem] = {**rows.get(path.stem, {}), **known}
        except DataError as error:
            found.append(Found(path.stem, reason=str(error)))
            continue
        found.append(Found(path.stem, _patient(metadata[path.stem], name), _reason(files, require_image)))
    cohort = make_cohort(name, "hest", found, slides, partial(_read, folder, metadata))
    drawn = {path.stem for kind in ("patches/*.h5", "wsis/*.tif") for path in visible(folder.glob(kind))}
    bare = sorted(drawn - {slide.id for slide in found})
    if bare and not slides:
        cohort = replace(cohort, notes=(f"pictures without counts: {few(bare)} (expected st/{bare[0]}.h5ad)",))
    return replace(cohort, simulated=any(said.get("st_technology") == SIMULATED for said in metadata.values()))


def _reason(files: _Files, require_image: bool) -> str:
    if require_image and not files.patches.is_file() and not files.wsi.is_file():
        return f"no picture: expected patches/{files.patches.name} or wsis/{files.wsi.name}"
    return ""


def _patient(metadata: Metadata, name: str) -> str | None:
    """Numbering of patients restarts in every study, so the study is part of the key."""
    patient = text_or_none(metadata.get("patient"))
    return None if patient is None else f"{text_or_none(metadata.get('dataset_title')) or name}: {patient}"


def _metadata_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        said = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected metadata as JSON, found: {error}; obtain the file again") from error
    if not isinstance(said, dict):
        raise DataError(f"{path}: expected one JSON object, found {type(said).__name__}; obtain the file again")
    if wrong := [key for key in _SAID if isinstance(said.get(key), bool | list | dict)]:
        raise DataError(f"{path}: expected a text or a number as {wrong[0]}, found {said[wrong[0]]!r}; correct it")
    return said


def _metadata_table(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of the newest ``HEST_v*.csv`` beside the samples by id; empty without one."""
    tables = sorted(folder.glob("HEST_v*.csv"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)])
    if not tables:
        return {}
    try:
        check_table(tables[-1])
        with tables[-1].open(encoding="utf-8-sig", newline="") as file:
            return {row["id"].strip(): dict(row) for row in csv.DictReader(file) if row.get("id")}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{tables[-1]}: expected a CSV of metadata, found: {error}; obtain the file again") from error


def _number(metadata: Metadata, key: str, where: Path) -> float | None:
    text = text_or_none(metadata.get(key))
    try:
        value = None if text is None else float(text)
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value < np.inf:
        raise DataError(f"{where}, {key}: expected a positive number, found {text!r}; correct it")
    return value


def _read(folder: Path, metadata: Mapping[str, Metadata], slide_id: str, patient: str | None) -> Slide:
    files, said = _Files(folder, slide_id), metadata[slide_id]
    # pixel_size_um_embedded is wrong for whole studies (all kidney slides).
    um_per_px = _number(said, "pixel_size_um_estimated", files.metadata)
    adata, notes = _spots(files.st)
    image = _image(files, um_per_px)
    found = um_per_px if um_per_px is not None or image is None else image.um_per_px
    notes += contradictions(adata, array_of(adata), found, said, str(files.st))
    orders: tuple[str, ...] = ()
    if isinstance(image, PatchFile):
        adata, dropped = _with_patches(adata, image, files)
        notes += dropped
        orders = other_orders(list(adata.obs_names), {f"patches/{files.patches.name}": image.barcodes()})
    size = _size(image, said, files)
    xy = np.asarray(adata.obsm[SPATIAL], dtype=np.float64)
    check_inside(xy, size, list(adata.obs_names), str(files.st))
    array, turned = _array(adata, xy)
    adata.obsm[SPATIAL] = xy.astype(np.float32)
    if array is not None:
        adata.obsm[ARRAY] = array
    return Slide(slide_id, patient, adata, image, found, (*notes, *turned), orders)


def _image(files: _Files, um_per_px: float | None) -> PatchFile | ImageFile | None:
    if files.patches.is_file():
        return PatchFile(files.patches, um_per_px, files.preview)
    return ImageFile(files.wsi, um_per_px) if files.wsi.is_file() else None


def _spots(path: Path) -> tuple[AnnData, list[str]]:
    """The slide's AnnData with counts that are counts, one column per gene and the total of every spot."""
    adata = read_h5ad(path)
    _check_parts(adata, path)
    spots, genes = [str(spot) for spot in adata.obs_names], [str(gene) for gene in adata.var_names]
    check_unique(spots, "spot", str(path))
    adata.X = as_counts(dense_or_sparse(adata.X), spots, genes, str(path))
    adata.obsm[SPATIAL] = pixel_positions(adata.obsm[SPATIAL], spots, str(path))
    notes: list[str] = []
    for step in (without_controls, one_column_per_gene, under_tissue):
        adata, said = step(adata)
        notes += said
    return adata, notes + total_counts(adata)


def _check_parts(adata: AnnData, path: Path) -> None:
    shape = np.shape(adata.obsm[SPATIAL]) if SPATIAL in adata.obsm else None
    if shape is None or len(shape) != 2 or shape[1] < 2:
        found = f"only {shown(list(adata.obsm))}" if shape is None else shape
        raise DataError(f"{path}: expected obsm['spatial'] of shape (n_spots, 2), found {found}; obtain the file again")
    if adata.X is None:
        raise DataError(f"{path}: expected raw counts in X, found none; obtain the file again")


def _with_patches(adata: AnnData, image: PatchFile, files: _Files) -> tuple[AnnData, list[str]]:
    spots = [str(spot) for spot in adata.obs_names]
    barcodes = image.barcodes()
    kept = np.isin(spots, barcodes)
    if not kept.any():
        raise DataError(
            f"{files.patches}: expected barcodes of {files.st} ({shown(spots)}), found none in common "
            f"({shown(barcodes)}); check that both files belong to one slide"
        )
    adata = adata[kept].copy() if not kept.all() else adata
    about = check_corners(adata, image, barcodes, files.st)
    notes = about if kept.all() else [*about, f"{int((~kept).sum())} of {len(spots)} spots dropped that have no patch"]
    strangers = len(barcodes) - int(kept.sum())
    return adata, notes + ([f"{strangers} patches left out that belong to no spot"] if strangers else [])


def _size(image: PatchFile | ImageFile | None, metadata: Metadata, files: _Files) -> tuple[float, float] | None:
    """Size of the full-resolution image: that of the picture, else what the metadata say."""
    width, height = (_number(metadata, f"fullres_px_{side}", files.metadata) for side in ("width", "height"))
    said = None if width is None or height is None else (width, height)
    size = None if image is None else image.size()
    if size is not None and said is not None and np.abs(np.subtract(size, said)).max() > 1:
        raise DataError(
            f"picture {files.wsi}: expected {said[0]:.0f} x {said[1]:.0f} px as the metadata say, "
            f"found {size[0]} x {size[1]}; it belongs to another slide or was resized"
        )
    return said if size is None else size


def _array(adata: AnnData, xy: FloatArray) -> tuple[NDArray[np.float32] | None, list[str]]:
    array = array_of(adata)
    return (None, []) if array is None else oriented(array, xy)


LAYOUT = Layout(
    signature="st/<id>.h5ad, patches/<id>.h5 or wsis/<id>.tif, metadata/<id>.json",
    recognises=recognises,
    open=open_hest,
)
