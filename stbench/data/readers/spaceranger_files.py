"""Where the files of a slide lie: as Space Ranger leaves them, as GEO names them, as people move them about."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stbench.data.raster.endings import pictures_in
from stbench.data.readers.matrices import Market
from stbench.files import visible
from stbench.text import few

MATRIX = "filtered_feature_bc_matrix.h5"
MARKET = "filtered_feature_bc_matrix"
BINS = "binned_outputs"
# The best first.
POSITIONS = tuple(f"tissue_positions{end}" for end in (".csv", "_list.csv", ".csv.gz", "_list.csv.gz", ".parquet"))
_SCALES = ("scalefactors_json.json", "scalefactors_json.json.gz")
_LAYERS = ("layers.tsv", "layers.tsv.gz")
_PREVIEWS = tuple((f"tissue_{name}_image.png", f"tissue_{name}_scalef") for name in ("hires", "lowres"))
_ENTRIES = ("matrix.mtx", "matrix.mtx.gz")
_BARCODES = ("barcodes.tsv", "barcodes.tsv.gz")
_FEATURES = ("features.tsv", "features.tsv.gz", "genes.tsv", "genes.tsv.gz")
# Renderings that Space Ranger makes, and the picture of the CytAssist, which is none of the microscope's.
_RENDERED = re.compile(r"(^|[_\-. ])(cytassist_image|aligned_|detected_|tissue_(hires|lowres)_image)")
_BETWEEN = "_-. "
_PLACE = re.compile(r"(^|[_\-. ])(spatial|filtered_feature_bc_matrix)$")
_RAW = re.compile(r"(^|[_\-. ])raw(_feature_bc_matrix)?$")
_BIN = re.compile(r"square_(\d+)um")
_USUAL_UM = 16  # of a bin: of 8 um there are four times as many, each with a fourth of the counts


@dataclass(frozen=True)
class Files:
    """Files of one slide.

    Args:
        place: folder that holds the matrix.
        prefix: what their names begin with; empty where they have Space Ranger's own names.
        matrix: HDF5 file or files in Matrix Market form; what is missing in the latter, as text.
        positions: table of positions, None where there is none.
        scales: scale factors; where they are expected, if there are none.
        previews: reduced pictures and the names of their scale factors, the best first.
        pictures: folders in which the microscope's picture may lie, the first is where to put it.
        others: what the names of other slides in the same folder begin with.
        layers: annotations of spots, None where there are none.
        chosen: which bins were chosen and how others are; empty where there was no choice.
    """

    place: Path
    prefix: str
    matrix: Path | Market | str
    positions: Path | None
    scales: Path
    previews: tuple[tuple[Path, str], ...]
    pictures: tuple[Path, ...]
    others: tuple[str, ...] = ()
    layers: Path | None = None
    chosen: str = ""

    @property
    def spatial(self) -> str:
        """What names of files in ``spatial/`` begin with where they are expected."""
        return "spatial/" if not (self.prefix and self.others) else f"{self.prefix}_"

    @property
    def target(self) -> Path:
        """Where the microscope's picture is to be put: a folder, or a file where several slides lie in one."""
        return self.pictures[0] / f"{self.prefix}.tif" if self.prefix and self.others else self.pictures[0]

    def within(self, folder: Path) -> set[str]:
        """Names in a folder below which its parts lie."""
        matrix = self.matrix.matrix if isinstance(self.matrix, Market) else self.matrix
        parts = [self.place, self.scales, *(part for part in (matrix, self.positions) if isinstance(part, Path))]
        return {path.relative_to(folder).parts[0] for path in parts if path != folder}

    def candidates(self) -> list[Path]:
        """Pictures that may be the microscope's."""
        found = (path for folder in self.pictures for path in pictures_in(folder, packed=True))
        return [path for path in found if self._own(path.name)]

    def _own(self, name: str) -> bool:
        """Whether a picture is none that Space Ranger made, and begins with no other slide's name."""
        mine = max((one for one in (self.prefix, *self.others) if _begins(name, one)), key=len, default=None)
        return not _RENDERED.search(name) and (mine == self.prefix or not self.others)


def places(folder: Path) -> list[Path]:
    """Folders that may each be a slide."""
    return sorted(path for path in visible(folder.glob("*")) if path.is_dir() and path.name != "outs")


def slides_in(folder: Path) -> list[tuple[str, Files]]:
    """Names and files of slides in a folder and the folders in it; two slides of one name are both among them.

    A slide is called by its folder; by what the names of its files begin with where it has none of its own.
    """
    name = folder.resolve().name
    own = _slides(folder, folder, name, alone=False)
    parts = set[str]().union(*(files.within(folder) for files in own.values()))
    rest = [place for place in places(folder) if place.name not in parts]
    below = [(place, *one) for place in rest for one in _slides(place, folder, place.name).items()]
    if name in own:  # what lies in a slide's folder is part of it, unless it has the names that slides have
        below = [one for one in below if _is_usual(one[2])]
    links = [place.resolve() for place in places(folder) if place.is_symlink()]
    chosen = [one for one in below if not (one[2].chosen and is_linked(one[0], links))]
    if name in {called for _, called, _ in chosen}:
        own.pop(name, None)
    return [*own.items(), *((called, files) for _, called, files in chosen)]


def is_linked(place: Path, links: Collection[Path]) -> bool:
    """Whether what lies in a folder is linked from beside it: then the link is the slide."""
    return any(place.resolve() in link.parents for link in links)


def _is_usual(files: Files) -> bool:
    return isinstance(files.matrix, Path) and files.matrix.name == MATRIX and not files.chosen


def _slides(place: Path, cohort: Path, name: str, *, alone: bool = True) -> dict[str, Files]:
    """Slides of one folder or its ``outs/``; the only one in a folder of its own has its name, whatever its files'."""
    found: dict[str, Files] = {}
    for inner in sorted((place / "outs", place), key=lambda inner: not (inner / MATRIX).is_file()):
        matrices = _matrices(inner)
        slides = {one: _files(inner, one, matrix, [*(matrices.keys() - {one})]) for one, matrix in matrices.items()}
        spatial = any(files.positions or files.previews or files.scales.is_file() for files in slides.values())
        for prefix, files in slides.items():
            if files.positions is None and ((prefix and "" in matrices) or (_is_loose(files.matrix) and not spatial)):
                continue  # another copy, or counts of single cells
            own = alone or (files.positions is not None and files.positions.parent == inner / "spatial")
            found.setdefault(name if not prefix or (own and len(matrices) == 1) else prefix, files)
        if not matrices and (bins := _bins(place, inner, cohort)):
            found.setdefault(name, bins)
    return found


def _is_loose(matrix: Path | Market | str) -> bool:
    return isinstance(matrix, Market) and not matrix.matrix.parent.name.endswith(MARKET)


def _matrices(place: Path) -> dict[str, Path | Market | str]:
    """What names begin with to the matrix; HDF5 before Matrix Market in a folder before its files alone."""
    entries = {one: path for one, path in named(place, _ENTRIES).items() if not _RAW.search(one)}
    loose = {one: _market(place, one, alone=len(entries) == 1) for one in entries}
    folders = {one: _market(_inmost(inner)) for one, inner in named(place, (MARKET,), folders=True).items()}
    return {**loose, **folders, **named(place, (MATRIX,))}


def _inmost(place: Path) -> Path:
    """The folder that an archive of it holds, where it was unpacked into one."""
    return place / MARKET if (place / MARKET).is_dir() else place


def _market(place: Path, prefix: str = "", *, alone: bool = True) -> Market | str:
    parts = {names[0]: _pick(named(place, names), prefix, alone) for names in (_ENTRIES, _BARCODES, _FEATURES)}
    matrix, barcodes, features = parts.values()
    if matrix and barcodes and features:
        return Market(matrix, barcodes, features)
    missing = few([name for name, path in parts.items() if path is None])
    return f"{place.name}/ without {missing}{f' of {prefix}' if prefix else ''}; obtain the folder again"


def _files(inner: Path, prefix: str, matrix: Path | Market | str, others: Sequence[str]) -> Files:
    alone, spatial = not others, inner / "spatial"
    named_so = _pick(named(inner, ("spatial",), folders=True), prefix, alone)
    own = [named_so, named_so / "spatial"] if named_so and named_so != spatial else []
    looked = {spatial: alone, **dict.fromkeys(own, True), inner: alone}
    listed = {place: _listed(place) for place in looked}

    def find(names: Sequence[str], places: Collection[Path] = tuple(looked)) -> Path | None:
        found = (_pick(_of(listed[place], names), prefix, looked[place]) for place in places)
        return next((path for path in found if path), None)

    previews = ((find((name, f"{name}.gz")), key) for name, key in _PREVIEWS)
    return Files(
        place=inner,
        prefix=prefix,
        matrix=matrix,
        positions=find(POSITIONS),
        scales=find(_SCALES) or spatial / _SCALES[0],
        previews=tuple((path, key) for path, key in previews if path),
        pictures=(inner, inner.parent) if inner.name == "outs" else (inner,),
        others=tuple(others),
        layers=find(_LAYERS, [inner]),
    )


def _bins(place: Path, inner: Path, cohort: Path) -> Files | None:
    """The bins of Visium HD that are read where nobody chose others, None where there are none."""
    sizes: dict[int, Files] = {}
    for folder in visible((inner / BINS).glob("*")):
        if (size := _BIN.fullmatch(folder.name)) and (found := _slides(folder, cohort, folder.name).get(folder.name)):
            sizes[int(size[1])] = found
    if not sizes:
        return None
    um = usual_bins(sizes)
    others = [sizes[other].place for other in sorted(sizes) if other != um]
    said = bins_said(um, sizes[um].place, BINS, others, place, cohort)
    pictures = (place, inner) if inner != place else (place,)
    return replace(sizes[um], pictures=pictures, chosen=said)


def usual_bins(sizes: Iterable[int]) -> int:
    """The size in micrometres of the bins that are read where nobody chose others."""
    return min(sizes, key=lambda um: (abs(um - _USUAL_UM), um))


def bins_said(um: int, read: Path, of: str, others: Sequence[Path], place: Path, cohort: Path) -> str:
    """A note that says which bins are read, and how others are.

    Args:
        um: their side, micrometres.
        read: their folder.
        of: what that folder is one of.
        others: folders of bins of other sizes.
        place: folder of the slide, whose name may end in ``.zarr``.
        cohort: folder that was named.
    """
    said = f"bins of {um} um are read ({read.name} of {of})"
    if not others:
        return said
    there = f"{few([other.name for other in others])} {'is' if len(others) == 1 else 'are'} there too"
    return f"{said}, {there}: {_choice(place, others[-1], cohort)}"


def _choice(place: Path, other: Path, cohort: Path) -> str:
    """How bins of another size are read."""
    if place == cohort:
        return f"to read others, open {shlex.quote(str(other))}"
    link = place.parent / f"{place.name.removesuffix('.zarr')}-{other.name}"
    return f"to read others, ln -s {shlex.quote(str(other.relative_to(place.parent)))} {shlex.quote(str(link))}"


def named(place: Path, names: Sequence[str], *, folders: bool = False) -> dict[str, Path]:
    """What a name begins with to the file (or folder) whose name ends in one of some, the best first."""
    return _of(_listed(place, folders=folders), names)


def _listed(place: Path, *, folders: bool = False) -> list[Path]:
    return sorted(path for path in visible(place.glob("*")) if (path.is_dir() if folders else path.is_file()))


def _of(listed: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in names:
        for path in listed:
            prefix = path.name.removesuffix(name)
            if path.name.endswith(name) and (not prefix or prefix[-1] in _BETWEEN):
                found.setdefault(_stem(prefix), path)
    return found


def _stem(prefix: str) -> str:
    """What names of one slide have in common: ``GSM1_S1`` of ``GSM1_S1_spatial_tissue_positions.csv``."""
    return _PLACE.sub("", prefix.rstrip(_BETWEEN)).rstrip(_BETWEEN)


def _pick(found: Mapping[str, Path], prefix: str, alone: bool) -> Path | None:
    """The file of a slide; any, if it is the only one, where there is one slide alone."""
    if alone and len(found) == 1:
        return next(iter(found.values()))
    return found.get(prefix)


def _begins(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and (not prefix or name[len(prefix) : len(prefix) + 1] in tuple(_BETWEEN))
