"""``.h5ad`` files of scanpy and squidpy: pictures in ``uns["spatial"]``, or one beside the file."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stbench.data.cohort import Cohort
from stbench.data.geometry import check_one_section, differ, doubts
from stbench.data.hdf5 import intact, open_hdf5
from stbench.data.images import ImageFile
from stbench.data.pixel_size import said_um_per_px
from stbench.data.raster.endings import ENDINGS
from stbench.data.readers.annotated import array_of, one_column_per_gene, raw_counts, total_counts, under_tissue
from stbench.data.readers.controls import without_controls
from stbench.data.readers.counts import (
    FloatArray,
    check_inside,
    check_unique,
    oriented,
)
from stbench.data.readers.h5ad_libraries import HIRES, Section, list_file, scale_key
from stbench.data.readers.hest_geometry import other_positions
from stbench.data.readers.layout import Entry, Found, Layout, make_cohort
from stbench.data.readers.positions import pixel_positions
from stbench.data.readers.preview import full_resolution, sizes_agree
from stbench.data.readers.scales import OFF_ARRAY, Scales, of_visium, pixel_size
from stbench.data.slide import ARRAY, SPATIAL, Slide
from stbench.data.stored_picture import StoredPicture
from stbench.errors import DataError
from stbench.files import visible
from stbench.text import few

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

IntArray = NDArray[np.int64]

SUFFIX = ".h5ad"


@dataclass(frozen=True)
class _Files:
    """Where the parts of a slide lie: a section of a file, and pictures of its name beside that file."""

    id: str
    section: Section
    beside: tuple[Path, ...]

    @property
    def where(self) -> str:
        one_of = "" if self.section.column is None else f", {self.section.library}"
        return f"{self.section.path}{one_of}"


def recognises(folder: Path) -> bool:
    """Whether a path is, or holds, files of this layout."""
    return any(_files_of(folder))


def _files_of(folder: Path) -> list[Path]:
    return [folder] if folder.suffix == SUFFIX and folder.is_file() else sorted(visible(folder.glob(f"*{SUFFIX}")))


def open_h5ad(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the slides by what ``uns`` and ``obs`` of every file say."""
    sections: list[Section] = []
    unread, notes, simulated = {}, [], False
    for path in _files_of(folder):
        try:
            listing = list_file(path)
        except DataError as error:
            unread[path] = str(error)
            continue
        sections += listing.sections
        notes += [f"{path.name}: no spots of {few(listing.empty)}"] if listing.empty else []
        simulated = simulated or listing.simulated
    files = _named(sections)
    found = [Found(each.id, each.section.patient, _reason(each, require_image)) for each in files.values()]
    found += [Found(path.name if path.stem in files else path.stem, reason=said) for path, said in unread.items()]
    cohort = make_cohort(name, "h5ad", found, slides, partial(_read, files))
    return replace(cohort, simulated=simulated, notes=() if slides else tuple(notes))


def _called(section: Section) -> str:
    """A slide is called by its file, or by its library where the file holds several."""
    return section.path.stem if section.column is None else str(section.library)


def _named(sections: Sequence[Section]) -> dict[str, _Files]:
    """Sections by names of their own: where two files hold one of the same name, the file's is put before it."""
    often = Counter(map(_called, sections))
    files: dict[str, _Files] = {}
    for section in sections:
        name = _called(section)
        if often[name] > 1 and section.column is not None:
            name = f"{section.path.stem}-{name}"
        files[name] = _Files(name, section, tuple(_pictures_beside(section.path, name)))
    return files


def _pictures_beside(path: Path, slide_id: str) -> Iterator[Path]:
    for other in sorted(visible(path.parent.glob("*"))):
        stem = other.name.removesuffix(other.suffix)
        if other.suffix.lower() in ENDINGS and slide_id in (stem, stem.removesuffix(".ome")):
            yield other


def _reason(files: _Files, require_image: bool) -> str:
    if not files.section.pictures and len(files.beside) > 1:
        return f"{few([path.name for path in files.beside])}: expected one picture of the slide; leave one there"
    if require_image and not files.section.pictures and not files.beside:
        library = files.section.library or files.id
        return (
            f"no picture: expected uns['spatial']['{library}']['images']['hires'] in {files.section.path.name} with "
            f"its scale factor, or {files.id}.tif beside it"
        )
    return ""


def _read(slides: Mapping[str, _Files], slide_id: str, patient: str | None) -> Slide:
    files = slides[slide_id]
    with intact(files.section.path), open_hdf5(files.section.path) as file:
        adata, notes = _spots(file, files)
        scales = _scales(file, files.section)
    spots, xy = list(adata.obs_names), np.asarray(adata.obsm[SPATIAL], dtype=np.float64)
    image, about = _picture(files, scales)
    check_inside(xy, None if image is None else image.size(), spots, files.where)
    check_one_section(xy, spots, sorted({spot.rpartition("-")[2] for spot in spots if "-" in spot}), files.where)
    array = array_of(adata)
    printed = array is not None and of_visium(array, xy, scales, spots)
    um_per_px, measured = _pixel_size(array if printed else None, xy, scales, spots, files, image)
    if image is not None:
        image.um_per_px = um_per_px
    notes += about + measured + other_positions(adata, xy)
    notes += doubts(xy, array, None, None, spots, OFF_ARRAY) if printed else doubts(xy, array, None, None, spots)
    adata.obsm[SPATIAL] = xy.astype(np.float32)
    if array is not None:
        adata.obsm[ARRAY], turned = oriented(array, xy)
        notes += turned
    elif {"array_row", "array_col"} & set(adata.obs):
        notes.append("array positions are not used: not every spot has a number in obs['array_row'] and 'array_col'")
    return Slide(slide_id, patient, adata, image, um_per_px, (*files.section.notes, *notes))


def _spots(file: h5py.File, files: _Files) -> tuple[AnnData, list[str]]:
    """The spots of a slide with raw counts, one column per gene and the total of every spot; the rest is not read."""
    from anndata import AnnData
    from anndata.io import read_elem

    obs, column = read_elem(file["obs"]), files.section.column
    rows = np.arange(len(obs)) if column is None else _rows_of(obs[column], files.section.library)
    xy = pixel_positions(read_elem(file["obsm"][SPATIAL]), [str(spot) for spot in obs.index], files.where)
    if len(xy) != len(obs):
        raise DataError(f"{files.where}: expected {len(obs)} positions, found {len(xy)}; obtain the file again")
    spots = [str(spot) for spot in obs.index[rows]]
    check_unique(spots, "spot", files.where)
    counts, var, notes = raw_counts(file, len(obs), rows, spots, files.where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names, which are added up below
        adata = AnnData(counts, obs=obs.iloc[rows].set_axis(spots, axis=0), var=var, obsm={SPATIAL: xy[rows]})
    for step in (without_controls, one_column_per_gene, under_tissue):
        adata, said = step(adata)
        notes += said
    return adata, notes + total_counts(adata)


def _rows_of(column: pd.Series, library: str | None) -> IntArray:
    return np.flatnonzero(column.astype(str) == library)


def _scales(file: h5py.File, section: Section) -> Scales:
    """Scale factors of the section's library, named by where they are in the file."""
    from anndata.io import read_elem

    library = section.library or section.path.stem
    place = section.path / f"uns['{SPATIAL}']['{library}']['scalefactors']"
    held = f"uns/{SPATIAL}/{section.library}/scalefactors"
    factors = read_elem(file[held]) if section.library is not None and held in file else {}
    if not isinstance(factors, Mapping):
        raise DataError(f"{place}: expected scale factors by name, found {factors!r}; obtain the file again")
    return Scales(place, factors)


def _picture(files: _Files, scales: Scales) -> tuple[ImageFile | None, list[str]]:
    """The picture beside the file where it is that of full resolution, else the best one in it; and notes."""
    section = files.section
    if not section.pictures:
        return (ImageFile(files.beside[0]) if files.beside else None), []
    best, *others = section.pictures
    preview = StoredPicture(section.path, _place(section, best), scale=_scale(scales, best))
    known = [(name, scales.number(key)) for name in others if (key := scale_key(name)) is not None]
    reduced = [(name, StoredPicture(section.path, _place(section, name), scale=of)) for name, of in known if of]
    notes = sizes_agree(best, preview, reduced)
    full, about = full_resolution(files.beside, preview, "the file", scales.path.name)
    if full is not None:
        return full, notes + about
    if HIRES not in section.pictures and scale_key(HIRES) in scales.said and preview.scale < 1:
        about.append(f"no picture {HIRES}, whose scale factor there is: {best} is used")
    if preview.scale < 1:
        width, height = preview.size()
        preview.finer = f"put the microscope's picture of about {width} x {height} px beside it as {files.id}.tif"
    return preview, notes + about


def _place(section: Section, picture: str) -> str:
    return f"uns/{SPATIAL}/{section.library}/images/{picture}"


def _scale(scales: Scales, picture: str) -> float:
    key = scale_key(picture)
    scale = 1.0 if key is None else scales.number(key)
    if scale is None:
        raise DataError(f"{scales.path}: expected a number under {key}, found none; obtain the file again")
    return scale


def _pixel_size(
    array: FloatArray | None,
    xy: FloatArray,
    scales: Scales,
    spots: Sequence[str],
    files: _Files,
    image: ImageFile | None,
) -> tuple[float | None, list[str]]:
    """Micrometres per pixel: by the array of Visium, else as the scale factors or the header of a picture say."""
    found, notes = scales.number("microns_per_pixel"), list[str]()
    if array is not None:
        found, notes = pixel_size(array, xy, scales, spots, files.where)
    header = None if image is None or isinstance(image, StoredPicture) else said_um_per_px(image.path)
    if found is None and header is None and array is None:
        notes.append(f"pixel size unknown: no array of Visium; write microns_per_pixel into {scales.path.name}")
    if image is None or header is None:
        return found, notes
    if found is None:
        return header, [f"pixel size: {header:.4g} um/px as {image.path.name} says"]
    if differ(found, header):
        notes.append(f"pixel size: {image.path.name} says {header:.4g} um/px, the spots {found:.4g}, which is used")
    return found, notes


LAYOUT = Layout(
    signature="<slide>.h5ad with obsm['spatial'] and pictures in uns['spatial'], or with <slide>.tif beside it",
    recognises=recognises,
    open=open_h5ad,
)
