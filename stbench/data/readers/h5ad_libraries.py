"""The sections that one ``.h5ad`` file holds, by the keys of ``uns`` and the columns of ``obs``; no counts are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stbench.data.cohort import SIMULATED
from stbench.data.hdf5 import intact, open_hdf5
from stbench.data.readers.annotated import LIBRARIES
from stbench.data.readers.counts import shown
from stbench.data.readers.layout import text_or_none
from stbench.data.slide import SPATIAL
from stbench.errors import DataError
from stbench.text import few, listed

if TYPE_CHECKING:
    import h5py
    import pandas as pd

PATIENTS = ("patient", "patient_id", "donor", "donor_id", "subject", "subject_id")  # obs: who the tissue is of
PREDICTION = "stbench"  # uns: what predictions say of themselves
FULL, HIRES = "fullres", "hires"
_BEST = (FULL, HIRES)  # pictures in the order in which they are taken; the others follow, lowres last
_LAST = "lowres"


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Args:
        path: the file.
        library: key of ``uns["spatial"]``, None where there is none.
        column: column of ``obs`` that says which spots are of the library, None where all are.
        pictures: names of its pictures that have a scale, the best first.
        patient: what ``obs`` says of all its spots alike, None where it says nothing or several things.
        notes: what was found while the file was listed.
    """

    path: Path
    library: str | None = None
    column: str | None = None
    pictures: tuple[str, ...] = ()
    patient: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """What one file holds.

    Args:
        sections: one for each library that has spots.
        simulated: whether it says that it is of no tissue.
        empty: libraries without spots.
    """

    sections: tuple[Section, ...]
    simulated: bool
    empty: tuple[str, ...] = ()


def scale_key(picture: str) -> str | None:
    """Name of a picture's scale factor; None for one of full resolution, which needs none."""
    return None if picture == FULL else f"tissue_{picture}_scalef"


def list_file(path: Path) -> Listing:
    """The sections of a file.

    Raises:
        DataError: damaged, without positions, a prediction, or spots of several libraries that cannot be told apart.
    """
    from anndata.io import read_elem

    with intact(path), open_hdf5(path) as file:
        uns = _group(file, "uns")
        if PREDICTION in uns:
            raise DataError(
                f"{path}: expected raw counts, found a prediction of stbench (uns['{PREDICTION}']), which holds none; "
                "name the slides that were predicted, and take this file out of the folder"
            )
        if f"obsm/{SPATIAL}" not in file:
            raise DataError(
                f"{path}: expected positions in obsm['{SPATIAL}'], found {shown(sorted(_group(file, 'obsm')))}; put "
                "the pixels of the full-resolution picture there"
            )
        kept = _group(uns, SPATIAL)
        found = {str(key): kept[key] for key in kept if _is_group(kept[key])}
        pictures = {library: _pictures(group) for library, group in found.items()}
        obs = read_elem(file["obs"])
        return _listing(path, obs, pictures, SIMULATED in uns)


def _group(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = parent.get(key, {})
    return found if _is_group(found) else {}


def _is_group(found: Any) -> bool:
    return isinstance(found, Mapping)  # as h5py.Group is


def _pictures(library: h5py.Group) -> tuple[str, ...]:
    """Names of the pictures of a library that have a scale factor, or should have one, the best first."""
    images, factors = _group(library, "images"), _group(library, "scalefactors")
    known = {*_BEST, _LAST}
    names = [str(name) for name in images if name in known or scale_key(name) in factors]
    place = {**{name: i for i, name in enumerate(_BEST)}, _LAST: len(_BEST) + 1}
    return tuple(sorted(names, key=lambda name: (place.get(name, len(_BEST)), name)))


def _listing(path: Path, obs: pd.DataFrame, pictures: Mapping[str, tuple[str, ...]], simulated: bool) -> Listing:
    libraries = sorted(pictures)
    if len(libraries) < 2:
        _check_alone(path, obs, libraries)
        library = libraries[0] if libraries else None
        return Listing((_section(path, obs, library, None, pictures.get(library or "", ())),), simulated)
    column = _column_of(path, obs, libraries)
    of_spot = obs[column].astype(str)
    there = [library for library in libraries if (of_spot == library).any()]
    sections = [
        _section(path, obs[(of_spot == library).to_numpy()], library, column, pictures[library]) for library in there
    ]
    return Listing(tuple(sections), simulated, tuple(library for library in libraries if library not in there))


def _section(
    path: Path, obs: pd.DataFrame, library: str | None, column: str | None, pictures: tuple[str, ...]
) -> Section:
    patient, notes = patient_of(obs)
    return Section(path, library, column, pictures, patient, notes)


def _column_of(path: Path, obs: pd.DataFrame, libraries: Sequence[str]) -> str:
    """The column of ``obs`` whose values are libraries: all of them where one column names all."""
    named = {str(column): set(obs[column].astype(str)) for column in obs.columns if _may_name(obs[column])}
    within = [column for column, values in named.items() if values and values <= set(libraries)]
    columns = [column for column in within if len(named[column]) == len(libraries)] or within
    if not columns:
        raise DataError(
            f"{path}: expected a column of obs whose values are the libraries of uns['{SPATIAL}'] "
            f"({few(libraries)}), found {_nearest(named)}; write one: adata.obs['{LIBRARIES[0]}'] = ..."
        )
    first, *others = columns
    for other in others:
        if not (obs[first].astype(str) == obs[other].astype(str)).all():
            raise DataError(
                f"{path}: expected one column of obs to say which library of uns['{SPATIAL}'] a spot is of, found "
                f"{first} and {other}, which contradict each other; remove or rename the wrong one"
            )
    return first


def _nearest(named: Mapping[str, set[str]]) -> str:
    """What the first column holds that is called as those for samples are."""
    column = next((name for name in LIBRARIES if name in named), None)
    return f"none among {shown(list(named))}" if column is None else f"{few(sorted(named[column]))} in {column}"


def _may_name(values: pd.Series) -> bool:
    return bool(values.dtype.kind not in "fcb")


def _check_alone(path: Path, obs: pd.DataFrame, libraries: Sequence[str]) -> None:
    """Spots of a file with one library are of that one, as far as columns for samples say."""
    for column in (name for name in LIBRARIES if name in obs):
        values = sorted(set(obs[column].dropna().astype(str)))
        if len(values) > 1 and (column == LIBRARIES[0] or set(libraries) & set(values)):
            raise DataError(
                f"{path}: expected every sample of obs['{column}'] ({few(values)}) as a library of uns['{SPATIAL}'], "
                f"found {listed(libraries) or 'none'} there; join files with uns_merge='unique', or write one each"
            )


def patient_of(obs: pd.DataFrame) -> tuple[str | None, tuple[str, ...]]:
    """The one patient that a column for patients names, and a note where it names several."""
    spelt = {re.sub(r"\W+", "_", str(column).strip().lower()): column for column in obs.columns}
    for column in (spelt[name] for name in PATIENTS if name in spelt):
        names = sorted({text_or_none(value) or "" for value in obs[column].astype(object)} - {""})
        if len(names) > 1:
            return None, (f"obs['{column}'] names {len(names)} patients ({few(names)}): none is taken",)
        if names:
            return names[0], ()
    return None, ()
