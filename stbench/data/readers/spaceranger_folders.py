"""Folders of 10x Space Ranger that the reader does not read: what is missing in each, and what to do about it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from stbench.data.readers.spaceranger_files import BINS, MARKET, MATRIX, POSITIONS, Files, is_linked, named, places
from stbench.files import visible
from stbench.text import few

_CELLS = "segmented_outputs"
_DEEPER = ("*", "*/*", "*/*/*")
_MARKS = ("*matrix*", "spatial", "*spatial.tar.gz", "*tissue_positions*", "*scalefactors*", f"*{BINS}*", _CELLS)
_PACKED = (f"{MARKET}.tar.gz", f"{MATRIX}.gz", f"{BINS}.tar.gz")


def unread(folder: Path, read: Collection[str]) -> dict[str, str]:
    """Folders with parts of a slide that cannot be read as one, and files of slides that lack their matrix.

    Args:
        folder: of the cohort; parts of a folder that is a slide itself are no slides.
        read: names of the slides that are read, and those of the folders in which several are.

    Returns:
        Name to what is missing and what to do.
    """
    if folder.resolve().name in read:
        return {}
    if any((inner / _CELLS).is_dir() for inner in (folder, folder / "outs")):
        return {folder.resolve().name: _missing(folder)}
    links = [place.resolve() for place in places(folder) if place.is_symlink()]
    left = [place for place in places(folder) if place.name not in read and _is_marked(place)]
    found = {place.name: _missing(place) for place in left if not is_linked(place, links)}
    return {**found, **{name: reason for name, reason in _loose(folder).items() if name not in read}}


def others(folder: Path, known: Collection[str]) -> list[str]:
    """Folders without any part of a slide, where the folder itself is none."""
    if folder.resolve().name in known:
        return []
    return [place.name for place in places(folder) if place.name not in known and not _is_marked(place)]


def clashes(slides: Sequence[tuple[str, Files]]) -> dict[str, str]:
    """Names that two slides have, to where both lie."""
    counted = Counter(name for name, _ in slides)
    return {
        name: f"{n} slides of this name, in {few([str(files.place) for each, files in slides if each == name])}; "
        "rename the files of one, or its folder"
        for name, n in counted.items()
        if n > 1
    }


def _is_marked(place: Path) -> bool:
    return any(any(visible(inner.glob(mark))) for inner in (place, place / "outs") for mark in _MARKS) or bool(
        _deeper(place)
    )


def _deeper(place: Path) -> list[Path]:
    names = (MATRIX, MARKET)
    return [path.parent for depth in _DEEPER for name in names for path in sorted(place.glob(f"{depth}/{name}"))]


def _missing(place: Path) -> str:
    """Why a folder without the matrix in its place is not read."""
    inside = [place, place / "outs"]
    for inner in inside:
        if packed := _packed(inner):
            return packed
        if (inner / BINS).is_dir():
            return f"{BINS} without a {MATRIX}; obtain the folder again"
        if (inner / _CELLS).is_dir():
            return f"cells, no spots, in {inner.name}/{_CELLS}; expected the {BINS} of the same run beside it"
    if deeper := _deeper(place):
        slide = deeper[0].parent if deeper[0].name == "outs" else deeper[0]
        return (
            f"no {MATRIX} in it, one in {slide.relative_to(place.parent)}; open {shlex.quote(str(slide.parent))} alone"
        )
    names = [path.name for inner in inside for path in sorted(visible(inner.glob("*")))]
    return f"no {MATRIX}; found only {few(names)}"


def _packed(place: Path, prefix: str = "") -> str:
    """What unpacks the counts of a folder, or of one slide of several in it; empty where none are packed."""
    for name in _PACKED:
        for stem, path in named(place, (name,)).items():
            if prefix in ("", stem):
                own = prefix if name.startswith(BINS) else f"{prefix}_{MARKET}"
                return f"its counts are packed; {_unpacking(path, place / own if prefix else place)}"
    return ""


def _unpacking(path: Path, place: Path) -> str:
    """A command; archives of several slides hold folders of one name, so each is unpacked into a folder of its own."""
    if not path.name.endswith(".tar.gz"):
        return _typed("gunzip -k", path)
    make = "" if place == path.parent else f"{_typed('mkdir', place)} && "
    return f"{make}{_typed('tar -C', place, '-xzf', path)}"


def missing_positions(files: Files) -> str:
    """Why a slide without a table of positions is not read."""
    expected = f"no spot positions: expected {files.spatial}{POSITIONS[1]}"
    tables = [path for place in (files.place / "spatial", files.place) for path in named(place, POSITIONS).values()]
    if tables and not files.others:
        return f"{expected}, found {few([path.name for path in tables])}; leave one there"
    packed = named(files.place, ("spatial.tar.gz",))
    if files.others and files.prefix in packed:
        return f"{expected}; {_unpacking(packed[files.prefix], files.place / f'{files.prefix}_spatial')}"
    if len(packed) != 1 or files.others:
        return expected
    return f"{expected}; {_unpacking(next(iter(packed.values())), files.place)}"


def _loose(folder: Path) -> dict[str, str]:
    """Slides in no folder of their own of which there are positions, or counts that are packed."""
    stems = {stem for names in (POSITIONS, *((name,) for name in _PACKED)) for stem in named(folder, names)}
    return {stem: _packed(folder, stem) or _without_counts(folder, stem) for stem in sorted(stems) if stem}


def _without_counts(folder: Path, stem: str) -> str:
    names = [path.name for path in sorted(visible(folder.glob("*"))) if path.name.startswith(stem)]
    return f"no {stem}_{MATRIX}; found only {few(names)}"


def _typed(command: str, *words: Path | str) -> str:
    return " ".join([command, *(word if word == "-xzf" else shlex.quote(str(word)) for word in words)])
