"""The repository of Andersson et al. 2021 (almaan/her2st): legacy Spatial Transcriptomics of HER2+ breast cancer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stbench.data.cohort import Cohort, guarded
from stbench.data.geometry import Pitch, doubts
from stbench.data.image import ImageSource
from stbench.data.images import ImageFile
from stbench.data.raster.endings import pictures_in
from stbench.data.readers.controls import without_controls
from stbench.data.readers.count_table import read_counts
from stbench.data.readers.counts import (
    FloatArray,
    check_inside,
    match_spots,
    merge_genes,
    other_orders,
    totals,
)
from stbench.data.readers.layout import Entry, Found, Layout, make_cohort
from stbench.data.readers.spot_labels import LABELS, read_labels
from stbench.data.readers.spot_table import SELECTED, read_spots
from stbench.data.rendering import PaintedFile
from stbench.data.slide import ARRAY, DOMAIN, SPATIAL, TOTAL_COUNTS, Slide
from stbench.errors import DataError
from stbench.files import visible
from stbench.text import few

if TYPE_CHECKING:
    import pandas as pd

PITCH_UM = 200.0
# The image is cropped at the centres of array positions 1 and 33 (x), 1 and 35 (y).
PITCHES = np.array([32.0, 34.0])
_POSITION = ("x", "y", "new_x", "new_y", "pixel_x", "pixel_y")
_FORMULA_PX = 0.5  # the spot files keep it to 0.01 px
_SIZE_PX = 2.0
_SECTION = re.compile(r"([A-Z])\d+|([A-Z]{1,2}\d+)[-_][A-Z]\d+", re.IGNORECASE)
_SPOTS = "_selection.tsv"
_SUFFIXES = (".tsv.gz", ".tsv")
_NO_PICTURE = "no picture in data/ST-imgs/<patient>/<section>/"
_MOST_BESIDE = 0.05  # share of spots that may lie on painted background; a rendering that fits has next to none


@dataclass(frozen=True)
class _Files:
    counts: Path
    spots: Path
    pictures: tuple[Path, ...]
    reduced: Path | None
    labels: Path | None


@dataclass(frozen=True)
class _Frame:
    """Extent of the full-resolution image in pixels, as the spot file implies it."""

    size: FloatArray
    holds: bool  # whether the spots keep to the formula of the array


def recognises(folder: Path) -> bool:
    """Whether a folder holds count matrices of this layout."""
    return bool(_sections(folder))


def open_her2st(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the sections; no counts are read, and of pictures only renderings."""
    files = {section: _files(folder, section, counts) for section, counts in _sections(folder).items()}
    found = [Found(section, _patient(section), _reason(each, require_image)) for section, each in files.items()]
    cohort = make_cohort(
        name, "her2st", found, slides, lambda section, patient: _read(section, patient, files[section])
    )
    placed = {path.name.removesuffix(_SPOTS) for path in visible((folder / "data" / "ST-spotfiles").glob(f"*{_SPOTS}"))}
    bare = sorted(placed - set(files))
    note = f"spots without counts: {few(bare)} (expected data/ST-cnts/{bare[0]}.tsv.gz)" if bare else ""
    return replace(cohort, notes=(note,)) if note and not slides else cohort


def _patient(section: str) -> str | None:
    """``A`` of ``A1``, as the study names its sections, ``BC01`` of ``BC01_C1``; None where a name says nothing."""
    found = _SECTION.fullmatch(section)
    return None if found is None else found[1] or found[2]


def _sections(folder: Path) -> dict[str, Path]:
    paths = sorted(
        visible((folder / "data" / "ST-cnts").glob("*.tsv*")), reverse=True
    )  # .tsv replaces .tsv.gz of the same name
    return {path.name.split(".")[0]: path for path in paths if path.name.endswith(_SUFFIXES)}


def _files(folder: Path, section: str, counts: Path) -> _Files:
    place = folder / "data" / "ST-imgs" / section[:1] / section
    reduced = folder / "app" / "www" / "imgs" / f"{section}_HE_image_dark.png"
    spots = folder / "data" / "ST-spotfiles" / f"{section}{_SPOTS}"
    labels = folder / "data" / "ST-pat" / "lbl" / LABELS.format(section=section)
    found = [path if path.is_file() else None for path in (reduced, labels)]
    return _Files(counts, spots, tuple(pictures_in(place)), *found)


def _reason(files: _Files, require_image: bool) -> str:
    """Why a section is left out; a rendering, which may not fit, is held against its spots."""
    if not files.spots.is_file():
        return f"no spot file: expected data/ST-spotfiles/{files.spots.name}"
    if len(files.pictures) > 1:
        place = "/".join(files.pictures[0].parts[-5:-1])
        return f"expected one picture in {place}, found {len(files.pictures)}; leave one there"
    if require_image and not files.pictures:
        return _NO_PICTURE if files.reduced is None else _beside(files)
    return ""


def _beside(files: _Files) -> str:
    """Why a rendering cannot be used; empty where it can, or where reading the slide will say what is wrong."""
    try:
        with guarded(files.spots.name):
            table, _ = _spot_table(files.spots)
            rendering = _rendering(files, _frame(table))
            if rendering is None:
                return ""
            beside = rendering.on_paint(table[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64))
    except DataError:
        return ""
    if beside.mean() <= _MOST_BESIDE:
        return ""
    return (
        f"picture {rendering.path.name} does not lie under its spots: {int(beside.sum())} of {len(beside)} are on "
        "its painted background"
    )


def _read(section: str, patient: str | None, files: _Files) -> Slide:
    import pandas as pd
    from anndata import AnnData

    where = str(files.spots)
    counts, spots, genes = read_counts(files.counts)
    table, notes = _spot_table(files.spots)
    shared, dropped = match_spots(spots, list(table.index), (str(files.counts), where))
    orders = other_orders(shared, {files.spots.name: list(table.index)})
    table = table.loc[shared]
    xy = table[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)
    image, um_per_px, about = _picture(files, table)
    check_inside(xy, None if image is None else image.size(), shared, where)
    rows = {spot: row for row, spot in enumerate(spots)}
    matrix, symbols, _, merged = merge_genes(counts[[rows[spot] for spot in shared]], genes)
    adata, controls = without_controls(AnnData(matrix, obs=pd.DataFrame(index=shared), var=pd.DataFrame(index=symbols)))
    adata.obs[TOTAL_COUNTS] = totals(adata.X)
    if files.labels is not None:
        adata.obs[DOMAIN[0]], unlabelled = read_labels(files.labels, shared)
        notes = [*notes, *unlabelled]
    adata.obsm[SPATIAL] = xy.astype(np.float32)
    array = table[["x", "y"]].to_numpy(dtype=np.float64)
    adata.obsm[ARRAY] = array.astype(np.float32)
    about += tuple(doubts(xy, array, um_per_px, Pitch(PITCH_UM, PITCH_UM, "the array"), shared))
    return Slide(section, patient, adata, image, um_per_px, (*notes, *dropped, *merged, *controls, *about), orders)


def _spot_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Positions of the selected spots, indexed by the names the count rows carry."""
    table = read_spots(path, _POSITION)
    if SELECTED not in table.columns:
        return table, []
    chosen = table[table[SELECTED]]
    n_left = len(table) - len(chosen)
    return chosen, [f"{n_left} spots left out that the study did not select"] if n_left else []


def _frame(table: pd.DataFrame) -> _Frame | None:
    """The extent that the spots imply: ``pixel_x = (new_x - 1) * W / 32``, ``pixel_y = (new_y - 1) * H / 34``."""
    array = table[["new_x", "new_y"]].to_numpy(dtype=np.float64) - 1
    xy = table[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)
    if len(array) < 2 or not np.ptp(array, axis=0).all():
        return None
    pitch = (xy * array).sum(axis=0) / (array**2).sum(axis=0)
    if np.abs(xy - array * pitch).max() < _FORMULA_PX:
        return _Frame(pitch * PITCHES, holds=True)
    slopes = [np.polyfit(array[:, axis], xy[:, axis], 1)[0] for axis in (0, 1)]
    return _Frame(np.array(slopes) * PITCHES, holds=False)


def _picture(files: _Files, table: pd.DataFrame) -> tuple[ImageSource | None, float | None, tuple[str, ...]]:
    """The picture, its pixel size, and what a user should know of either."""
    notes: tuple[str, ...] = ()
    frame = _frame(table)
    if frame is not None and not frame.holds:
        notes = (
            "pixel positions do not keep to the array's formula: spots may lie about one pitch beside their tissue",
        )
    if files.pictures:
        size = ImageFile(files.pictures[0]).size()
        _check_size(files.pictures[0], size, frame)
        um_per_px = PITCH_UM / (size[0] / PITCHES[0])
        return ImageFile(files.pictures[0], um_per_px), um_per_px, notes
    rendering = _rendering(files, frame)
    if rendering is None:
        return None, None if frame is None else _um_per_px(frame), notes
    if misfit := _beside(files):
        return None, rendering.um_per_px, (*notes, misfit)
    return rendering, rendering.um_per_px, (*notes, _reduced(rendering))


def _um_per_px(frame: _Frame) -> float:
    return float(PITCH_UM / (round(frame.size[0]) / PITCHES[0]))


def _rendering(files: _Files, frame: _Frame | None) -> PaintedFile | None:
    """The reduced picture, where the spots say how far it was reduced."""
    if files.reduced is None or frame is None:
        return None
    scale = ImageFile(files.reduced).size()[0] / round(float(frame.size[0]))
    found = PaintedFile(files.reduced, _um_per_px(frame), scale)
    section = files.spots.name.removesuffix(_SPOTS)
    found.finer = f"put the picture of full resolution into data/ST-imgs/{section[:1]}/{section}/"
    return found


def _reduced(rendering: PaintedFile) -> str:
    """Nuclei of 5 to 10 um are a few pixels wide."""
    coarse = (rendering.um_per_px or 0.0) / rendering.scale
    return (
        f"picture {rendering.path.name} is a rendering at {rendering.scale:.4f} of the full resolution, "
        f"{coarse:.2f} um a pixel, and patches are enlarged {1 / rendering.scale:.1f} times: nuclei are not resolved, "
        "and features are not those of full pictures; its painted background is shown in the colour of its glass"
    )


def _check_size(picture: Path, size: tuple[int, int], frame: _Frame | None) -> None:
    if frame is not None and frame.holds and np.abs(frame.size - size).max() > _SIZE_PX:
        width, height = np.rint(frame.size).astype(int)
        raise DataError(
            f"picture {picture}: expected {width} x {height} px as the spot file implies, found {size[0]} x {size[1]}; "
            "it belongs to another section or was resized"
        )


LAYOUT = Layout(
    signature="data/ST-cnts/<S>.tsv.gz, data/ST-spotfiles/<S>_selection.tsv, data/ST-imgs/<P>/<S>/*.jpg",
    recognises=recognises,
    open=open_her2st,
)
