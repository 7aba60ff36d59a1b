"""What one store of SpatialData holds, by the metadata of its elements; no counts and no pixels are read."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stbench.data.readers.h5ad_libraries import PATIENTS, PREDICTION, patient_of
from stbench.data.readers.spaceranger_files import bins_said, usual_bins
from stbench.data.zarr_store import attributes, check_tree, declared, intact_store, is_node, open_array, open_group
from stbench.errors import DataError
from stbench.files import visible
from stbench.text import few, listed

SUFFIX = ".zarr"
_TABLES = ("tables", "table")  # the latter in stores of 2023
_CELLS = re.compile(r"cell|nucle", re.IGNORECASE)
_BIN = re.compile(r"_?square_(\d+)um$")
_RENDERED = re.compile(r"cytassist", re.IGNORECASE)  # the picture of the CytAssist is none of the microscope's
_CHANNELS = ({"r", "red", "0"}, {"g", "green", "1"}, {"b", "blue", "2"}, {"a", "alpha", "3"})
_PEEK = 2**16


@dataclass(frozen=True)
class Picture:
    """An image element of 8-bit RGB: its folder, its arrays from the finest on, and the order of its channels."""

    path: Path
    levels: tuple[str, ...]
    order: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """One section of a store.

    Args:
        store: folder of the store.
        element: the shapes that are spots or bins, or the points that are transcripts.
        table: name of the table that annotates these shapes, None for transcripts.
        pictures: image elements of RGB that share a coordinate system with the element.
        patient: what the table says of all its spots alike, None where it says nothing or several things.
        reason: why it cannot be read; empty where nothing is known against it.
        no_picture: what was found in place of a picture; empty where there is one.
        notes: what was found while the store was listed.
        chosen: whether the notes say which of several bins these are.
    """

    store: Path
    element: str
    table: str | None
    pictures: tuple[Picture, ...] = ()
    patient: str | None = None
    reason: str = ""
    no_picture: str = ""
    notes: tuple[str, ...] = ()
    chosen: bool = False

    @property
    def place(self) -> Path:
        """Folder of the element."""
        return self.store / ("points" if self.table is None else "shapes") / self.element

    @property
    def table_place(self) -> Path:
        """Folder of the table."""
        return next((path for path in _nodes(self.store, *_TABLES) if path.name == self.table), self.store)


def table_of(place: Path) -> tuple[Path, str] | None:
    """The store and the name of a table, where a path is, or is linked to, one within a store; None elsewhere."""
    real = place.resolve()
    store = real.parent.parent
    return (store, real.name) if real.parent.name in _TABLES and is_node(real) and is_node(store) else None


def list_store(store: Path, only: str | None, cohort: Path) -> list[Section]:
    """The sections of a store.

    Args:
        store: its folder.
        only: name of the table that was asked for; None takes all that annotate spots or bins.
        cohort: the folder that was named.

    Raises:
        DataError: damaged, a prediction, or nothing in it that can be read as spots.
    """
    with intact_store(store):
        if PREDICTION in attributes(store):
            raise DataError(
                f"{store}: expected raw counts, found a prediction of stbench (its attribute '{PREDICTION}'), which "
                "holds none; name the slides that were predicted, and take this store out of the folder"
            )
        tables = {path.name: attributes(path) for path in _nodes(store, *_TABLES)}
        asked = {only: tables[only]} if only is not None else tables
        spots = _annotated(store, asked)
        found = [_of_tables(store, element, names) for element, names in spots.items()]
        found = _without_bins(store, found, cohort) if only is None else found
        found = found or _transcripts(store)
        if not found:
            raise DataError(f"{store}: {_nothing(store, asked)}")
        return [_pictured(section) for section in found]


def _nodes(store: Path, *kinds: str) -> list[Path]:
    """Folders of the elements of some kinds."""
    return [path for kind in kinds for path in sorted(visible((store / kind).glob("*"))) if path.is_dir()]


def _annotated(store: Path, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Shapes that are no cells to the tables that annotate them; also those that are named and not there."""
    others = {path.name for path in _nodes(store, "labels")}
    found: dict[str, list[str]] = defaultdict(list)
    for name, said in tables.items():
        for element in _regions(said):
            if element not in others and not _CELLS.search(element):
                found[element].append(name)
    return found


def _regions(said: Mapping[str, Any]) -> list[str]:
    """Elements that a table annotates."""
    regions = said.get("region") or []
    return [regions] if isinstance(regions, str) else [str(one) for one in regions]


def _of_tables(store: Path, element: str, tables: Sequence[str]) -> Section:
    if element not in (there := [path.name for path in _nodes(store, "shapes")]):
        said = f"expected the shapes {element!r}, which its table {tables[0]} annotates, found {few(there) or 'none'}"
        return Section(store, element, tables[0], reason=f"{store}: {said}; obtain the store again")
    section = Section(store, element, tables[0])
    if len(tables) > 1:
        raw = [name for name in tables if _looks_raw(replace(section, table=name).table_place)]
        if len(raw) != 1:
            named = shlex.quote(str(replace(section, table=tables[0]).table_place))
            said = f"expected one table of raw counts of {element}, found {len(raw) or 'none'} among {listed(tables)}"
            return replace(section, reason=f"{store}: {said}; open one alone, such as {named}")
        section = replace(section, table=raw[0], notes=(f"table {raw[0]} of {listed(tables)}: the one of raw counts",))
    patient, notes = _patient(section)
    return replace(section, patient=patient, notes=(*section.notes, *notes))


def _looks_raw(table: Path) -> bool:
    """Whether the first numbers of ``X`` are whole ones."""
    place = table / "X" / "data" if is_node(table / "X" / "data") else table / "X"
    check_tree(place)
    array = open_array(place)
    if len(array.shape) > 1:
        array = array[: max(1, _PEEK // max(1, array.shape[1]))]
    first = array[:_PEEK]
    return bool((first >= 0).all() and (first == first.astype("int64")).all())


def _patient(section: Section) -> tuple[str | None, tuple[str, ...]]:
    """As the columns for patients say it; those alone are read."""
    place, said = section.table_place, attributes(section.table_place)
    columns = [path for path in _nodes(place, "obs") if re.sub(r"\W+", "_", path.name.strip().lower()) in PATIENTS]
    if not columns or "region_key" not in said:
        return None, ()
    from anndata.io import read_elem
    from pandas import DataFrame

    region = open_group(place / "obs")
    table = DataFrame({path.name: read_elem(region[path.name]) for path in columns})
    of = DataFrame({"region": read_elem(region[said["region_key"]])})["region"].astype(str)
    return patient_of(table[(of == section.element).to_numpy()])


def _without_bins(store: Path, found: Sequence[Section], cohort: Path) -> list[Section]:
    """Of bins of several sizes over one section those that are usually read, with a note on the others."""
    sizes: dict[str, dict[int, Section]] = defaultdict(dict)
    for section in found:
        if size := bin_um(section):
            sizes[_BIN.sub("", section.element)][size] = section
    kept = [section for section in found if not bin_um(section)]
    for of_section in sizes.values():
        um = usual_bins(of_section)
        section = of_section[um]
        others = [of_section[size].table_place for size in sorted(of_section) if size != um]
        said = bins_said(um, section.table_place, section.table_place.parent.name, others, store, cohort)
        kept.append(replace(section, notes=(*section.notes, said), chosen=bool(others)))
    return kept


def bin_um(section: Section) -> int | None:
    """Side of a bin of Visium HD in micrometres by the name of the shapes; None for what is no such bin."""
    named = _BIN.search(section.element)
    return int(named[1]) if named and section.table is not None else None


def _transcripts(store: Path) -> list[Section]:
    found = _nodes(store, "points")
    return [Section(store, path.name, None) for path in found if gene_column(attributes(path))]


def gene_column(said: Mapping[str, Any]) -> str | None:
    """Column of points that names genes, by their attributes; None where none does."""
    own = said.get("spatialdata_attrs")
    return str(own["feature_key"]) if isinstance(own, Mapping) and own.get("feature_key") else None


def _nothing(store: Path, tables: Mapping[str, Mapping[str, Any]]) -> str:
    expected = "expected a table that annotates spots or bins, or points with a column of genes"
    if tables:
        regions = [f"{name} of {few(_regions(said)) or 'nothing'}" for name, said in tables.items()]
        return f"{expected}, found the tables {few(regions)}; cells are not read"
    kinds = [path.name for path in sorted(visible(store.glob("*"))) if path.is_dir()]
    return f"{expected}, found only {few(kinds) or 'an empty store'}; obtain the store again"


def _pictured(section: Section) -> Section:
    if section.reason:
        return section
    systems, found, others = set(systems_of(section.place)), [], []
    for path in _nodes(section.store, "images"):
        picture = _rgb(path)
        if isinstance(picture, str):
            others.append(f"{path.name} ({picture})")
        elif not systems & set(systems_of(path)):
            others.append(f"{path.name} (in the coordinate systems {few(sorted(systems_of(path)))})")
        else:
            found.append(picture)
    if found:
        return replace(section, pictures=tuple(found))
    reason = (
        f"no picture: expected an image of 8-bit RGB in a coordinate system of {section.element} "
        f"({few(sorted(systems))}), found {few(others) or 'none'}"
    )
    return replace(section, no_picture=reason, reason=reason if section.table is None else "")


def systems_of(place: Path) -> dict[str, Mapping[str, Any]]:
    """Coordinate systems of an element to the transformations into them, as the store spells these."""
    said = attributes(place)
    scales = said.get("ome", said).get("multiscales")
    return {str(one["output"]["name"]): one for one in (scales[0] if scales else said)["coordinateTransformations"]}


def _rgb(path: Path) -> Picture | str:
    """An image element, or in words what it is if it is no picture of the microscope in 8-bit RGB."""
    said = attributes(path)
    ome = said.get("ome", said)
    levels = tuple(str(one["path"]) for one in ome["multiscales"][0]["datasets"])
    if any(Path(level).name != level for level in levels):
        raise ValueError(f"a level of {path.name} outside it")
    shape, kind = declared(path / levels[0])
    labels = [str(one.get("label")) for one in ome.get("omero", {}).get("channels", [])]
    order = _order(labels or [str(i) for i in range(shape[0])])
    if len(shape) != 3 or kind not in ("uint8", "|u1") or order is None:
        return f"{few(labels) or shape[0]} of type {kind}"
    return "a picture of the CytAssist" if _RENDERED.search(path.name) else Picture(path, levels, order)


def _order(labels: Sequence[str]) -> tuple[int, ...] | None:
    """Where red, green, blue and, of four channels, the opaque one are; None for other channels."""
    known = _CHANNELS[: len(labels)]
    found = [next((i for i, label in enumerate(labels) if label.lower() in names), None) for names in known]
    places = tuple(place for place in found if place is not None)
    return places if len(places) == len(labels) in (3, 4) else None
