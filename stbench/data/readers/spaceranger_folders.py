"""Folders of 10x Space Ranger that the reader does not read: what is missing in each, and what to do about it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from pathlib import Path

from stbench.files import visible
from stbench.text import few

MATRIX = "filtered_feature_bc_matrix.h5"
POSITIONS = ("tissue_positions.csv", "tissue_positions_list.csv")
_BINS, _CELLS = "binned_outputs", "segmented_outputs"
_DEEPER = ("*", "*/*", "*/*/*")
_MARKS = ("*matrix*", "spatial", "*spatial.tar.gz", "*tissue_positions*", "*scalefactors*", _BINS, _CELLS)


def places(folder: Path) -> list[Path]:
    """Folders that may each be a slide."""
    return sorted(path for path in visible(folder.glob("*")) if path.is_dir() and path.name != "outs")


def unread(folder: Path, read: Collection[str]) -> dict[str, str]:
    """Folders with parts of a slide that cannot be read as one, and files of slides that have no folder.

    Args:
        folder: of the cohort; parts of a folder that is a slide itself are no slides.
        read: names of the slides that are read.

    Returns:
        Name to what is missing and what to do.
    """
    if folder.resolve().name in read:
        return {}
    links = [place.resolve() for place in places(folder) if place.is_symlink()]
    left = [place for place in places(folder) if place.name not in read and _is_marked(place)]
    found = {place.name: place for place in left if not any(place.resolve() in link.parents for link in links)}
    return {**{name: _missing(place) for name, place in found.items()}, **_loose(folder)}


def others(folder: Path, named: Collection[str]) -> list[str]:
    """Folders without any part of a slide, where the folder itself is none."""
    if folder.resolve().name in named:
        return []
    return [place.name for place in places(folder) if place.name not in named and not _is_marked(place)]


def _is_marked(place: Path) -> bool:
    return any(any(visible(inner.glob(mark))) for inner in (place, place / "outs") for mark in _MARKS) or bool(
        _deeper(place)
    )


def _deeper(place: Path) -> list[Path]:
    return [found.parent for depth in _DEEPER for found in sorted(place.glob(f"{depth}/{MATRIX}"))]


def _missing(place: Path) -> str:
    """Why a folder without the matrix in its place is not read."""
    inside = [place, place / "outs"]
    for inner in inside:
        if (inner / _BINS).is_dir():
            return _without_bins(place, inner / _BINS)
        if (inner / _CELLS).is_dir():
            return f"cells, no spots, in {inner.name}/{_CELLS}; expected the {_BINS} of the same run beside it"
    for inner in inside:
        if renamed := sorted(visible(inner.glob(f"*{MATRIX}"))):
            return f"its matrix has another name; {_typed('mv', renamed[0], inner / MATRIX)}"
        if (folder := inner / MATRIX.removesuffix(".h5")).is_dir():
            return f"only {folder.name}/ in Matrix Market form; expected {MATRIX} of the same run beside it"
    if deeper := _deeper(place):
        slide = deeper[0].parent if deeper[0].name == "outs" else deeper[0]
        return (
            f"no {MATRIX} in it, one in {slide.relative_to(place.parent)}; open {shlex.quote(str(slide.parent))} alone"
        )
    names = [path.name for inner in inside for path in sorted(visible(inner.glob("*")))]
    return f"no {MATRIX}; found only {few(names)}"


def _without_bins(place: Path, bins: Path) -> str:
    """A slide of Visium HD: bins of several sizes, each of which is a slide."""
    sizes = [path.parent for path in sorted(bins.glob(f"*/{MATRIX}"))]
    if not sizes:
        return f"{_BINS} without a {MATRIX}; obtain the folder again"
    names = [path.name for path in sizes]
    chosen = bins / ("square_008um" if "square_008um" in names else names[0])
    link = place.parent / f"{place.name}-{chosen.name}"
    target = chosen.relative_to(place.parent)
    return f"Visium HD with {few(names)} in {_BINS}; choose one: {_typed('ln -s', target, link)}"


def missing_positions(spatial: Path) -> str:
    """Why a slide without a readable table of positions is not read."""
    found = sorted(visible(spatial.glob("*tissue_positions*")))
    if not found:
        packed = sorted(visible(spatial.parent.glob("*spatial.tar.gz")))
        how = f"; {_typed('tar -C', spatial.parent, '-xzf', packed[0])}" if packed else ""
        return f"no spot positions: expected spatial/{POSITIONS[1]}{how}"
    path = found[0]
    if path.suffix == ".gz":
        return f"spot positions are packed: expected spatial/{path.stem}; {_typed('gunzip -k', path)}"
    if path.suffix == ".parquet":
        before, after = (json.dumps(str(place)) for place in (path, spatial / POSITIONS[0]))
        table = f"pandas.read_parquet({before}).to_csv({after}, index=False)"
        said = f"python -c {shlex.quote(f'import pandas; {table}')}"
        return f"spot positions as {path.name}: expected spatial/{POSITIONS[0]}; with pyarrow installed: {said}"
    return f"spot positions have another name; {_typed('mv', path, spatial / POSITIONS[1])}"


def _loose(folder: Path) -> dict[str, str]:
    """Slides whose files lie beside each other with the slide's name before them, as GEO gives them."""
    prefixed = {path.name.removesuffix(MATRIX).rstrip("_-."): path for path in visible(folder.glob(f"*{MATRIX}"))}
    return {
        name: "its files have no folder of their own; "
        f"{_typed('mkdir', folder / name)} && {_typed('mv', path, folder / name / MATRIX)}"
        for name, path in sorted(prefixed.items())
        if name
    }


def _typed(command: str, *words: Path | str) -> str:
    return " ".join([command, *(shlex.quote(str(word)) for word in words)])
