"""``.zarr`` stores of SpatialData: a table over spots or bins, or transcripts, and a picture in one frame with them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stbench.data.cohort import Cohort
from stbench.data.geometry import check_one_section, differ, doubts
from stbench.data.readers.annotated import COUNTS, finite, one_column_per_gene, raw_counts, total_counts, under_tissue
from stbench.data.readers.controls import without_controls
from stbench.data.readers.counts import FloatArray, check_inside, check_unique, match_spots, oriented
from stbench.data.readers.layout import Entry, Found, Layout, make_cohort
from stbench.data.readers.scales import OFF_ARRAY, Scales, of_visium, pixel_size
from stbench.data.readers.spatialdata_listing import SUFFIX, Section, bin_um, list_store, table_of
from stbench.data.readers.spatialdata_places import Frame, centres_of, frame_of
from stbench.data.readers.spatialdata_points import binned
from stbench.data.slide import ARRAY, SPATIAL, Slide
from stbench.data.zarr_store import attributes, check_written, intact_store, is_node, open_group
from stbench.errors import DataError
from stbench.files import visible
from stbench.text import few

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_UM = "microns_per_pixel"  # uns of the table


def recognises(folder: Path) -> bool:
    """Whether a path is, or holds, stores; nothing in them is read."""
    return bool(_stores(folder))


def _stores(folder: Path) -> dict[str, tuple[Path, str | None]]:
    """Names to stores, each with the table that was asked for, None where none was."""
    if not folder.is_dir():
        return {}
    if (table := table_of(folder)) is not None:
        return {folder.resolve().name: table}
    if folder.suffix == SUFFIX or is_node(folder):
        return {folder.resolve().name.removesuffix(SUFFIX): (folder, None)}
    places = sorted(path for path in visible(folder.glob("*")) if path.is_dir())
    linked = {path.name: table for path in places if (table := table_of(path)) is not None}
    return linked | {path.stem: (path, None) for path in places if path.suffix == SUFFIX}


def open_spatialdata(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the slides by the metadata of every store.

    Raises:
        DataError: the library is not installed.
    """
    if find_spec("spatialdata") is None:
        raise DataError(
            f"{folder}: expected spatialdata, which stores of this kind need, found none; pip install "
            "'stbench[spatialdata]'"
        )
    stores = _stores(folder)
    linked = {store for store, table in stores.values() if table is not None}
    sections, unread = [], {}
    for called, (store, table) in stores.items():
        try:
            listing = list_store(store, table, folder)
        except DataError as error:
            unread[called] = str(error)
            continue
        kept = [each for each in listing if not (table is None and each.chosen and store.resolve() in linked)]
        sections += [(called, each, len(listing) > 1) for each in kept]
    named = _named(sections)
    found = [Found(each, section.patient, _reason(section, require_image)) for each, section in named.items()]
    found += [Found(called, reason=reason) for called, reason in unread.items()]
    return make_cohort(name, "spatialdata", found, slides, partial(_read, named))


def _named(sections: Sequence[tuple[str, Section, bool]]) -> dict[str, Section]:
    """Sections by the name of their store, or of their element where the store holds several."""
    often = Counter(section.element if several else store for store, section, several in sections)
    found = {}
    for store, section, several in sections:
        name = section.element if several else store
        found[f"{store}-{name}" if several and often[name] > 1 else name] = section
    return found


def _reason(section: Section, require_image: bool) -> str:
    return section.reason or (section.no_picture if require_image else "")


def _read(sections: Mapping[str, Section], slide_id: str, patient: str | None) -> Slide:
    section = sections[slide_id]
    with intact_store(section.store):
        if section.table is None:
            adata, frame, notes = binned(section)
            return _slide(slide_id, patient, adata, section, frame, notes)
        adata, notes = _spots(section)
        frame = frame_of(section)
        adata.obsm[SPATIAL] = frame.pixels(adata.obsm[SPATIAL])
        return _slide(slide_id, patient, adata, section, frame, notes)


def _spots(section: Section) -> tuple[AnnData, list[str]]:
    """The spots of a section with raw counts, and their centres in units of the shapes."""
    from anndata import AnnData
    from anndata.io import read_elem

    place, where = section.table_place, str(section.table_place)
    said, group = attributes(place), open_group(place)
    obs = read_elem(group["obs"])
    region, instance = (_column(obs, said, key, where) for key in ("region_key", "instance_key"))
    rows = np.flatnonzero(region.astype(str) == section.element)
    names, instances = ([str(one) for one in values[rows]] for values in (obs.index, instance))
    check_unique(names, "spot", where)
    check_unique(instances, f"instance of {section.element}", where)
    for matrix in (place / matrix for matrix, _ in COUNTS.values()):
        if is_node(matrix):
            check_written(matrix)
    counts, var, notes = raw_counts(group, len(obs), rows, names, where)
    kept, xy, dropped = _placed(section, instances)
    uns = {_UM: read_elem(group[f"uns/{_UM}"])} if f"uns/{_UM}" in group else {}
    obs = obs.iloc[rows[kept]].set_axis([names[i] for i in kept], axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names, which are added up below
        adata = AnnData(counts[kept], obs=obs, var=var, obsm={SPATIAL: xy}, uns=uns)
    notes += dropped
    for step in (without_controls, one_column_per_gene, under_tissue):
        adata, told = step(adata)
        notes += told
    return adata, notes + total_counts(adata)


def _placed(section: Section, instances: Sequence[str]) -> tuple[list[int], FloatArray, list[str]]:
    """Which instances are among the shapes, the centres (n, 2) of those, and notes on the others."""
    named, xy = centres_of(section.place)
    check_unique(named, "shape", str(section.place))
    shared, notes = match_spots(instances, named, (str(section.table_place), str(section.place)))
    row, at = ({one: i for i, one in enumerate(ones)} for ones in (instances, named))
    said = [note for note in notes if "no counts" not in note]  # bins without counts are shapes all the same
    return [row[one] for one in shared], xy[[at[one] for one in shared]], said


def _column(obs: pd.DataFrame, said: Mapping[str, Any], key: str, where: str) -> NDArray[Any]:
    """A column of obs that the attributes of a table name."""
    if said.get(key) not in obs:
        raise DataError(
            f"{where}: expected the column of obs that its {key} names, found {said.get(key)!r} and the columns "
            f"{few([str(column) for column in obs.columns])}; write the table again with TableModel.parse"
        )
    return np.asarray(obs[said[key]].astype(object))


def _slide(
    slide_id: str, patient: str | None, adata: AnnData, section: Section, frame: Frame, notes: Sequence[str]
) -> Slide:
    spots, where, image = list(adata.obs_names), str(section.place), frame.image
    xy = np.asarray(adata.obsm[SPATIAL], dtype=np.float64)
    check_inside(xy, None if image is None else image.size(), spots, where)
    check_one_section(xy, spots, [], where)
    array = finite(adata, "array_col", "array_row")
    scales = Scales(section.table_place / "uns", {_UM: adata.uns.get(_UM), "bin_size_um": bin_um(section)})
    printed = array is not None and section.table is not None and of_visium(array, xy, scales, spots)
    um_per_px, measured = _pixel_size(array if printed else None, xy, scales, spots, section, frame)
    if image is not None:
        image.um_per_px = um_per_px
    turned = list[str]()
    if array is not None:
        adata.obsm[ARRAY], turned = oriented(array, xy)
    doubted = doubts(xy, array, None, None, spots, *([OFF_ARRAY] if printed else []))
    adata.obsm[SPATIAL] = xy.astype(np.float32)
    return Slide(slide_id, patient, adata, image, um_per_px, (*section.notes, *notes, *turned, *measured, *doubted))


def _pixel_size(
    array: FloatArray | None, xy: FloatArray, scales: Scales, spots: Sequence[str], section: Section, frame: Frame
) -> tuple[float | None, list[str]]:
    """Micrometres per pixel: by a coordinate system in micrometres, else by the array of Visium; and notes."""
    found, notes = scales.number(_UM), list[str]()
    if array is not None:
        found, notes = pixel_size(array, xy, scales, spots, str(section.table_place))
    if frame.um_per_px is None:
        if found is None and not notes:
            notes = [f"pixel size unknown: no array of Visium and no system in micrometres; write {_UM} into uns"]
        return found, notes
    if found is not None and differ(found, frame.um_per_px):
        said = f"{frame.um_per_px:.4g} um/px, the spots {found:.4g}: the former is used"
        notes.append(f"pixel size: the coordinate system in micrometres says {said}")
    return frame.um_per_px, notes


LAYOUT = Layout(
    signature=f"<slide>{SUFFIX} of SpatialData: a table of spots or bins in shapes, or transcripts, and an RGB image",
    recognises=recognises,
    open=open_spatialdata,
)
