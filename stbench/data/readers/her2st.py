"""The repository of Andersson et al. 2021 (almaan/her2st): legacy Spatial Transcriptomics of HER2+ breast cancer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stbench.data.cohort import Cohort
from stbench.data.geometry import Pitch, doubts
from stbench.data.image import ImageSource
from stbench.data.images import ImageFile
from stbench.data.readers.controls import without_controls
from stbench.data.readers.count_table import read_counts
from stbench.data.readers.counts import (
    FloatArray,
    check_columns,
    check_inside,
    check_unique,
    match_spots,
    merge_genes,
    numbers,
    other_orders,
    totals,
)
from stbench.data.readers.layout import Entry, Found, Layout, make_cohort
from stbench.data.slide import ARRAY, SPATIAL, TOTAL_COUNTS, Slide
from stbench.errors import DataError
from stbench.files import visible
from stbench.reading import check_table
from stbench.text import few

if TYPE_CHECKING:
    import pandas as pd

PITCH_UM = 200.0
# The image is cropped at the centres of array positions 1 and 33 (x), 1 and 35 (y).
PITCHES = np.array([32.0, 34.0])
_POSITION = ("x", "y", "new_x", "new_y", "pixel_x", "pixel_y")
_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_FORMULA_PX = 0.5  # the spot files keep it to 0.01 px
_SIZE_PX = 2.0
_SECTION = re.compile(r"([A-Z])\d+|([A-Z]{1,2}\d+)[-_][A-Z]\d+", re.IGNORECASE)
_SPOTS = "_selection.tsv"
_SUFFIXES = (".tsv.gz", ".tsv")
_NO_PICTURE = "no picture in data/ST-imgs/<patient>/<section>/"
_REDUCED = "only a reduced picture in app/www/imgs/, too coarse for the features of a cell"


@dataclass(frozen=True)
class _Files:
    counts: Path
    spots: Path
    pictures: tuple[Path, ...]
    reduced: Path | None


@dataclass(frozen=True)
class _Frame:
    """Extent of the full-resolution image in pixels, as the spot file implies it."""

    size: FloatArray
    holds: bool  # whether the spots keep to the formula of the array


def recognises(folder: Path) -> bool:
    """Whether a folder holds count matrices of this layout."""
    return bool(_sections(folder))


def open_her2st(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the sections; nothing but names of files is read."""
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
    pictures = sorted(path for path in visible(place.glob("*")) if path.suffix.lower() in _PICTURES)
    reduced = folder / "app" / "www" / "imgs" / f"{section}_HE_image_dark.png"
    spots = folder / "data" / "ST-spotfiles" / f"{section}{_SPOTS}"
    return _Files(counts, spots, tuple(pictures), reduced if reduced.is_file() else None)


def _reason(files: _Files, require_image: bool) -> str:
    if not files.spots.is_file():
        return f"no spot file: expected data/ST-spotfiles/{files.spots.name}"
    if len(files.pictures) > 1:
        place = "/".join(files.pictures[0].parts[-5:-1])
        return f"expected one picture in {place}, found {len(files.pictures)}; leave one there"
    if require_image and not files.pictures:
        return _NO_PICTURE if files.reduced is None else _REDUCED
    return ""


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
    image, um_per_px, about = _picture(files, _frame(table))
    check_inside(xy, None if image is None else image.size(), shared, where)
    rows = {spot: row for row, spot in enumerate(spots)}
    matrix, symbols, _, merged = merge_genes(counts[[rows[spot] for spot in shared]], genes)
    adata, controls = without_controls(AnnData(matrix, obs=pd.DataFrame(index=shared), var=pd.DataFrame(index=symbols)))
    adata.obs[TOTAL_COUNTS] = totals(adata.X)
    adata.obsm[SPATIAL] = xy.astype(np.float32)
    array = table[["x", "y"]].to_numpy(dtype=np.float64)
    adata.obsm[ARRAY] = array.astype(np.float32)
    about += tuple(doubts(xy, array, um_per_px, Pitch(PITCH_UM, PITCH_UM, "the array"), shared))
    return Slide(section, patient, adata, image, um_per_px, (*notes, *dropped, *merged, *controls, *about), orders)


def _spot_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Positions of the selected spots, indexed by the names the count rows carry."""
    import pandas as pd

    try:
        check_table(path)
        table = pd.read_csv(path, sep="\t")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a table of spots, found: {' '.join(str(error).split())}") from error
    check_columns(table, _POSITION, str(path))
    table[list(_POSITION)] = numbers(table, _POSITION, str(path))
    x, y = (np.rint(table[axis]).astype(np.int64) for axis in ("x", "y"))
    table.index = pd.Index([f"{column}x{row}" for column, row in zip(x, y, strict=True)])
    check_unique(list(table.index), "spot", str(path))
    if "selected" not in table.columns:
        return table, []
    chosen = table[table["selected"] == 1]
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


def _picture(files: _Files, frame: _Frame | None) -> tuple[ImageSource | None, float | None, tuple[str, ...]]:
    """The picture, its pixel size, and what a user should know of either."""
    notes: tuple[str, ...] = ()
    if frame is not None and not frame.holds:
        notes = (
            "pixel positions do not keep to the array's formula: spots may lie about one pitch beside their tissue",
        )
    width = None if frame is None else float(frame.size[0])
    if files.pictures:
        size = ImageFile(files.pictures[0]).size()
        _check_size(files.pictures[0], size, frame)
        um_per_px = PITCH_UM / (size[0] / PITCHES[0])
        return ImageFile(files.pictures[0], um_per_px), um_per_px, notes
    um_per_px = None if width is None else PITCH_UM / (round(width) / PITCHES[0])
    if files.reduced is None or width is None:
        return None, um_per_px, notes
    scale = ImageFile(files.reduced).size()[0] / round(width)
    reduced = f"picture {files.reduced.name}: {scale:.4f} of the full resolution, background painted black"
    return ImageFile(files.reduced, um_per_px, scale), um_per_px, (*notes, reduced)


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
