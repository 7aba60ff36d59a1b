"""What the files of one HEST-1k sample say twice of its geometry: metadata, positions, array, stored patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stbench.data.geometry import (
    check_one_section,
    differ,
    doubts,
    is_hexagonal,
    neighbour_px,
    steps_px,
    technology_pitch,
)
from stbench.data.images import HEST_UM_PER_PX, PatchFile
from stbench.data.readers.annotated import LIBRARIES
from stbench.data.readers.counts import FloatArray
from stbench.data.readers.layout import text_or_none
from stbench.data.slide import SPATIAL
from stbench.errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData

_CORNER_SHARE = 0.25  # of the patch's side; HEST's own corners are within one pixel
_CORNER_PX = 2.0
_ALIKE = 0.03
_DIAMETER_RATIO = 1.5  # older versions of Space Ranger write 70 for 55 um
_WIDEST = 1e9


def contradictions(
    adata: AnnData, array: FloatArray | None, um_per_px: float | None, metadata: Mapping[str, Any], where: str
) -> list[str]:
    """One line for each pair of facts that do not fit; of all spots of the file, with and without a patch.

    Args:
        adata: the spots.
        array: (n_spots, 2) array positions, None when unknown.
        um_per_px: micrometres per full-resolution pixel, None when unknown.
        metadata: of the sample.
        where: file, for messages.

    Raises:
        DataError: the file holds more than one section.
    """
    xy, spots = np.asarray(adata.obsm[SPATIAL], dtype=np.float64), [str(spot) for spot in adata.obs_names]
    if not len(xy) or not (np.abs(xy) < _WIDEST).all():
        return []  # said where spots are held against the picture
    named, libraries = _libraries(adata)
    check_one_section(xy, spots, libraries, where)
    known = array if array is not None and (np.abs(array) < _WIDEST).all() else None
    pitch = technology_pitch(_technology(metadata, known, xy), _positive(metadata.get("inter_spot_dist")) or None)
    found = [f"{len(libraries)} samples in {named} ({', '.join(libraries[:3])}), read as one slide"] if named else []
    return [
        *found,
        *doubts(xy, known, um_per_px, pitch, spots),
        *other_positions(adata, xy),
        *_diameters(adata, um_per_px, metadata),
    ]


def _technology(metadata: Mapping[str, Any], array: FloatArray | None, xy: FloatArray) -> str | None:
    """What metadata say, else Visium where the array is its hexagon."""
    steps = None if array is None else steps_px(array, xy)
    hexagon = "Visium" if steps is not None and is_hexagonal(steps) else None
    return text_or_none(metadata.get("st_technology")) or hexagon


def _positive(value: object) -> float:
    """A positive number, 0 for everything else."""
    try:
        number = float(str(value))
    except ValueError:
        return 0.0
    return number if 0 < number < np.inf else 0.0


def _libraries(adata: AnnData) -> tuple[str, list[str]]:
    """Where the file names samples, if it names more than one, and their names."""
    kept = adata.uns.get("spatial")
    if isinstance(kept, Mapping) and len(kept) > 1:
        return "uns['spatial']", [str(name) for name in kept]
    for column in LIBRARIES:
        names = [str(name) for name in adata.obs[column].dropna().unique()] if column in adata.obs else []
        if 1 < len(names) < len(adata.obs) / 2:
            return (f"obs['{column}']" if column == LIBRARIES[0] else ""), names
    return "", []


def other_positions(adata: AnnData, xy: FloatArray) -> list[str]:
    """A line where ``obs`` gives other pixel positions than ``obsm['spatial']``."""
    import pandas as pd

    columns = ["pxl_col_in_fullres", "pxl_row_in_fullres"]
    near = neighbour_px(xy)
    if near is None or not set(columns) <= set(adata.obs.columns):
        return []
    said = adata.obs[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    far = max(_CORNER_PX, near[1] / 2)
    off, turned = (np.abs(xy - other).max(initial=0) for other in (said, said[:, ::-1]))
    if not np.isfinite(said).all() or off <= far:
        return []
    how = "holds them as (y, x)" if turned <= far else f"differs from them by up to {off:.4g} px"
    return [f"pixel positions contradict each other: obsm['spatial'] {how}, going by obs['{columns[0]}'] and row"]


def _diameters(adata: AnnData, um_per_px: float | None, metadata: Mapping[str, Any]) -> list[str]:
    """A line where the diameter in pixels is not the one in micrometres."""
    said, kept = _positive(metadata.get("spot_diameter")), adata.uns.get("spatial")
    scales = (
        [one.get("scalefactors") for one in kept.values() if isinstance(one, Mapping)]
        if isinstance(kept, Mapping)
        else []
    )
    sizes = [_positive(one.get("spot_diameter_fullres")) for one in scales if isinstance(one, Mapping)]
    px = next((size for size in sizes if size), 0.0)
    if not (said and px and um_per_px) or 1 / _DIAMETER_RATIO <= px * um_per_px / said <= _DIAMETER_RATIO:
        return []
    return [
        f"spot_diameter_fullres: {px:.4g} px are {px * um_per_px:.4g} um at {um_per_px:.4g} um/px, expected {said:g} "
        "um as spot_diameter says: pixel size and positions are not of one picture"
    ]


def check_corners(adata: AnnData, image: PatchFile, barcodes: Sequence[str], st: Path) -> list[str]:
    """Hold the corners of stored patches against the spots, and take from them what attributes do not say.

    A patch file of another slide can share every barcode; its corners then lie elsewhere. Where the file does not say
    how many source pixels a patch shows, its corner lies half as many before the spot.

    Args:
        adata: the spots that have a patch.
        image: the patches; told the side in source pixels where only the corners say it.
        barcodes: of the patches, in order.
        st: file of the spots, for messages.

    Raises:
        DataError: patches that lie elsewhere than the spots.
    """
    row = {barcode: i for i, barcode in enumerate(barcodes)}
    spots = [str(spot) for spot in adata.obs_names]
    before = np.asarray(adata.obsm[SPATIAL], dtype=np.float64) - image.corners()[[row[spot] for spot in spots]]
    said, shown = image.attribute("patch_size_src"), 2 * float(np.median(before))
    side = shown if said is None else said
    off = np.abs(before - side / 2).max(axis=1)
    worst = int(np.argmax(off))
    if off[worst] > max(_CORNER_PX, _CORNER_SHARE * abs(side)):
        raise DataError(
            f"{image.path}: expected patches around the spots of {st}, found the one of {spots[worst]} "
            f"{off[worst]:.0f} px away; check that both files belong to one slide"
        )
    return _sides(image, said, shown)


def _sides(image: PatchFile, said: float | None, shown: float) -> list[str]:
    """Lines about the side of the patches: corners, attributes and pixel size, two of which give the third."""
    stored, told = image.side_px(), image.told_um_per_px()
    by_corners = said is None and shown > _CORNER_PX
    source = shown if by_corners else said
    notes = []
    if said is not None and abs(said - shown) > max(2 * _CORNER_PX, _ALIKE * said):
        notes.append(
            f"patch corners lie {shown / 2:.4g} px before their spots, so a patch shows {shown:.4g} px of the picture, "
            f"patch_size_src says {said:g}"
        )
    if source is None or image.um_per_px is None:
        assumed = f"pixel size of the patches is not said: taken as {HEST_UM_PER_PX} um/px"
        return [*notes, *([assumed] if told is None else [])]
    implied = image.um_per_px * source / stored
    if told is None:
        return notes + _implied(image, source, implied, stored)
    if differ(told, implied, _ALIKE):
        notes.append(
            f"pixel size of the patches: {told:.4g} um/px by their attributes, {implied:.4g} by {source:.4g} px of "
            f"{image.um_per_px:.4g} um in {stored}: {told:.4g} is used"
        )
    return notes


def _implied(image: PatchFile, source: float, implied: float, stored: int) -> list[str]:
    if not differ(HEST_UM_PER_PX, implied, max(0.01, _CORNER_PX / source)):  # corners are whole pixels
        return []
    image.source_px = round(source)
    return [
        f"patches show {round(source)} px of the picture in {stored}: their pixel is {implied:.4g} um "
        f"(not said by the file, taken from the corners)"
    ]
