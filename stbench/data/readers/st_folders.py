"""Legacy Spatial Transcriptomics in one flat folder: counts, a table of spots and a picture of every section.

Files are joined by the name of the section within theirs, as STUtility, the ST Spot Detector, GEO (GSE144240) and the
data of He et al. 2020 (Mendeley 29ntw7sh4r) name them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stbench.data.cohort import Cohort
from stbench.data.geometry import Pitch, doubts, pitch_px
from stbench.data.images import ImageFile
from stbench.data.readers.controls import without_controls
from stbench.data.readers.count_table import plain, read_counts
from stbench.data.readers.counts import (
    FloatArray,
    check_inside,
    check_unique,
    match_spots,
    merge_genes,
    oriented,
    other_orders,
    totals,
)
from stbench.data.readers.gene_table import GENES, read_gene_table, symbols_of
from stbench.data.readers.layout import Entry, Found, Layout, make_cohort
from stbench.data.readers.scales import Scales, read_scales
from stbench.data.readers.spot_table import PLACES, SELECTED, read_spots
from stbench.data.slide import ARRAY, SPATIAL, TOTAL_COUNTS, Slide
from stbench.errors import DataError
from stbench.files import visible
from stbench.text import few

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

SCALE = "scale.json"
PITCH_UM = "pitch_um"  # distance of neighbouring spots, centre to centre
GENE_ID = "gene_ids"  # var: what the counts call a gene that has a symbol, scanpy's name for it
_COUNTS, _SPOTS, _PICTURE = "counts", "spots", "picture"
# A packed picture is known, to say that it must be unpacked; tables are read packed.
_NAMES = (
    (_SPOTS, re.compile(r"alignment_table_(.+)\.tsv(?:\.gz)?")),
    (_SPOTS, re.compile(r"((?:GSM\d+_)?)spot_data-selection-(.+)\.tsv(?:\.gz)?")),
    (_SPOTS, re.compile(r"(.+)[-_]spot_data-selection\.tsv(?:\.gz)?")),
    (_SPOTS, re.compile(r"(.+)_selection\.tsv(?:\.gz)?")),
    (_SPOTS, re.compile(r"spots_(.+)\.csv(?:\.gz)?")),
    (_SPOTS, re.compile(r"(.+)\.spots\.txt(?:\.gz)?")),
    (_COUNTS, re.compile(r"(.+?)(?:_stdata)?\.tsv(?:\.gz)?")),
    (_PICTURE, re.compile(r"(?:HE_)?(.+?)(?:_HE)?\.(?:jpe?g|png|tiff?)(?:\.gz)?", re.IGNORECASE)),
)
_NO_SECTION = re.compile(rf"{re.escape(GENES)}(?:\.gz)?|.*_Coords\.tsv(?:\.gz)?|(?:meta_?data|patients?)\.tsv")
_DEPOSIT = re.compile(r"GSM\d+_(?=.)")
_HE = re.compile(r"BT(?=\d)")  # pictures and spots of He et al. say BT where their counts say BC
_PACKED = ".gz"
_CORNER = 0.5  # of width and height


@dataclass(frozen=True)
class _Files:
    """What was found of one section, by kind; the same file packed and unpacked is one, the unpacked."""

    counts: tuple[Path, ...] = ()
    spots: tuple[Path, ...] = ()
    picture: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file."""
        return (*self.counts, *self.spots, *self.picture)

    @property
    def id(self) -> str:
        """What the counts call the section."""
        return re.sub(r"(?:_stdata)?\.tsv(?:\.gz)?$", "", self.counts[0].name)


def recognises(folder: Path) -> bool:
    """Whether a folder holds spots and counts of a section by names of this layout."""
    return any(files.spots and files.counts for files in _sections(folder))


def open_st(name: str, folder: Path, slides: Sequence[Entry], *, require_image: bool) -> Cohort:
    """List the sections; nothing but names of files is read, and names of sections say nothing of patients."""
    sections = _sections(folder)
    files = {each.id: each for each in sections if _is_section(each)}
    found = [Found(section, None, _reason(section, each, require_image)) for section, each in files.items()]
    cohort = make_cohort(name, "st", found, slides, partial(_read, folder, files))
    rest = [path.name for each in sections if not _is_section(each) for path in each.all]
    note = f"files of no section, which has counts beside spots or a picture: {few(sorted(rest))}" if rest else ""
    return replace(cohort, notes=(note,)) if note and not slides else cohort


def _sections(folder: Path) -> list[_Files]:
    """Files by what those of one section have in common."""
    found: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(visible(folder.iterdir())) if folder.is_dir() else ():
        kind, section = _told_by(path.name)
        of_kind = found.setdefault(_key(section), {}).setdefault(kind, [])
        if path.name.removesuffix(_PACKED) not in {other.name for other in of_kind}:
            of_kind.append(path)
    found.pop("", None)
    return [_Files(**{kind: tuple(paths) for kind, paths in kinds.items()}) for _, kinds in sorted(found.items())]


def _told_by(name: str) -> tuple[str, str]:
    """Kind of a file and its section, empty where it is of none."""
    if _NO_SECTION.fullmatch(name) is None:
        for kind, pattern in _NAMES:
            if match := pattern.fullmatch(name):
                return kind, "".join(match.groups())
    return "", ""


def _key(section: str) -> str:
    """What files of one section have in common."""
    return _HE.sub("BC", _DEPOSIT.sub("", section))


def _is_section(files: _Files) -> bool:
    """A table that nothing goes with may be anything, unless its name says that it holds counts."""
    return bool(files.counts and (files.spots or files.picture or "_stdata." in files.counts[0].name))


def _reason(section: str, files: _Files, require_image: bool) -> str:
    """Why a section cannot be used; empty where it can."""
    for what, paths in (("table of counts", files.counts), ("table of spots", files.spots), ("picture", files.picture)):
        if len(paths) > 1:
            return f"expected one {what}, found {few(sorted(path.name for path in paths))}; leave one there"
    if not files.spots:
        return f"no table of spots: expected alignment_table_{section}.tsv or {section}_selection.tsv"
    if files.picture and files.picture[0].suffix == _PACKED:
        return f"packed picture: type gunzip {shlex.quote(str(files.picture[0]))}"
    if require_image and not files.picture:
        return f"no picture: expected {section}.jpg, .png or .tif"
    return ""


def _read(folder: Path, sections: Mapping[str, _Files], section: str, patient: str | None) -> Slide:
    files = sections[section]
    adata, table, notes, orders = _spots(folder, files)
    spots, where = list(adata.obs_names), str(files.spots[0])
    xy, array = (table[list(columns)].to_numpy(dtype=np.float64) for columns in (PLACES[2:], PLACES[:2]))
    pitch_um, px = _pitch_um(read_scales(folder / SCALE)), pitch_px(xy, array)
    um_per_px = None if pitch_um is None or px is None else pitch_um / px
    image = ImageFile(files.picture[0], um_per_px) if files.picture else None
    size = None if image is None else image.size()
    check_inside(xy, size, spots, where)
    turned, about = oriented(array, xy)
    adata.obsm[SPATIAL], adata.obsm[ARRAY] = xy.astype(np.float32), turned
    pitch = None if pitch_um is None else Pitch(pitch_um, pitch_um, SCALE)
    notes += about + doubts(xy, array, um_per_px, pitch, spots) + _in_a_corner(xy, size) + _unscaled(um_per_px, px)
    return Slide(section, patient, adata, image, um_per_px, tuple(notes), orders)


def _spots(folder: Path, files: _Files) -> tuple[AnnData, pd.DataFrame, list[str], tuple[str, ...]]:
    """Counts of the spots under tissue, their rows of the table, notes, files that list them otherwise."""
    where = str(files.counts[0]), str(files.spots[0])
    counts, named, genes = read_counts(files.counts[0])
    spots = [plain(spot) for spot in named]
    check_unique(spots, "spot", where[0])
    table = read_spots(files.spots[0])
    under = _under_tissue(table, where[1])
    beside = set(table.index) - set(under.index)
    shared, notes = match_spots([spot for spot in spots if spot not in beside], list(under.index), where)
    if SELECTED not in table.columns:
        notes.append(f"no column {SELECTED} in {files.spots[0].name}: all its spots are taken to lie under tissue")
    if n_left := sum(spot in beside for spot in spots):
        notes.append(f"{n_left} spots outside the tissue left out")
    row = {spot: i for i, spot in enumerate(spots)}
    adata, said = _named(counts[[row[spot] for spot in shared]], shared, genes, folder)
    adata.obs[TOTAL_COUNTS] = totals(adata.X)
    return adata, under.loc[shared], notes + said, other_orders(shared, {files.spots[0].name: list(table.index)})


def _under_tissue(table: pd.DataFrame, where: str) -> pd.DataFrame:
    if SELECTED not in table.columns:
        return table
    if not table[SELECTED].any():
        raise DataError(f"{where}: expected spots with {SELECTED} = 1, found none; select those under tissue")
    return table[table[SELECTED]]


def _named(counts: csr_matrix, spots: list[str], genes: list[str], folder: Path) -> tuple[AnnData, list[str]]:
    """Counts under the symbols of the table of genes where one lies in the folder."""
    import pandas as pd
    from anndata import AnnData

    table = _gene_table(folder)
    symbols = genes if table is None else symbols_of(genes, read_gene_table(table))
    matrix, merged, column, notes = merge_genes(counts, symbols)
    ids = pd.Series(genes).groupby(column).agg(";".join)
    var = pd.DataFrame({GENE_ID: ids.to_numpy()} if table is not None else {}, index=merged)
    adata, controls = without_controls(AnnData(matrix, obs=pd.DataFrame(index=spots), var=var))
    n_called = sum(one != other for one, other in zip(genes, symbols, strict=True))
    called = [] if table is None else [f"{n_called} of {len(genes)} genes called by their symbols in {table.name}"]
    return adata, called + notes + controls


def _gene_table(folder: Path) -> Path | None:
    return next((path for name in (GENES, GENES + _PACKED) if (path := folder / name).exists()), None)


def _pitch_um(scales: Scales) -> float | None:
    """What the folder says of its arrays; raises DataError where it says something else."""
    if strange := sorted(set(scales.said) - {PITCH_UM}):
        raise DataError(
            f'{scales.path}: expected {{"{PITCH_UM}": <distance of neighbouring spots in um>}}, found {strange[0]}; '
            "correct it"
        )
    return scales.number(PITCH_UM)


def _in_a_corner(xy: FloatArray, size: tuple[int, int] | None) -> list[str]:
    """Whether pixels look counted in a smaller picture than the one that lies there."""
    if size is None or not len(xy) or (xy.max(axis=0) / size > _CORNER).any():
        return []
    width, height = np.ceil(xy.max(axis=0)).astype(int)
    return [
        f"all spots lie in the first {width} x {height} px of a picture of {size[0]} x {size[1]}: their pixels may be "
        "those of a reduced one; stbench datasets check FOLDER --pictures moves it about"
    ]


def _unscaled(um_per_px: float | None, px: float | None) -> list[str]:
    """How a user can say the size of a pixel that no file of this layout says."""
    if um_per_px is not None or px is None:
        return []
    return [
        f"neighbouring spots lie {px:.4g} px apart; where it is known how far that is, write "
        f'{{"{PITCH_UM}": <um>}} into {SCALE} to have patches in um'
    ]


LAYOUT = Layout(
    signature="<S>.tsv(.gz) or <S>_stdata.tsv(.gz), alignment_table_<S>.tsv(.gz) or <S>_selection.tsv or "
    "spot_data-selection-<S>.tsv or spots_<S>.csv, <S>.jpg",
    recognises=recognises,
    open=open_st,
)
