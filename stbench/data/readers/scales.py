"""The size of a pixel of Space Ranger's output: what array and scale factors say of it, compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stbench.data.geometry import VISIUM_STEP_UM, differ, is_hexagonal, is_square, off_array, steps_px
from stbench.data.readers.counts import FloatArray
from stbench.errors import DataError
from stbench.reading import UNREADABLE, read_json

OFF_ARRAY = 0.25  # of the pitch: Space Ranger computes positions, nothing is printed beside its place
_MOST_OFF = 0.1
_BIN = re.compile(r"s_(\d{3})um_")
_DIAMETER_UM = (40.0, 80.0)  # 55 um; older versions of Space Ranger write up to 70


@dataclass(frozen=True)
class Scales:
    """What ``scalefactors_json.json`` says; nothing where there is no such file."""

    path: Path
    said: Mapping[str, Any]

    def number(self, key: str) -> float | None:
        """A number under a key, None where there is none.

        Raises:
            DataError: anything but a positive number.
        """
        value = self.said.get(key)
        if value is None:
            return None
        try:
            number = -1.0 if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 < number < np.inf:
            raise DataError(f"{self.path}, {key}: expected a positive number, found {value!r}; correct it")
        return number


def read_scales(path: Path) -> Scales:
    """Read the scale factors.

    Raises:
        DataError: not a JSON object.
    """
    if not path.is_file():
        return Scales(path, {})
    try:
        said = read_json(path)
    except UNREADABLE as error:
        found = f"{type(error).__name__} {' '.join(str(error).split())}"
        raise DataError(f"{path}: expected scale factors as JSON, found: {found}; obtain the file again") from error
    if not isinstance(said, dict):
        raise DataError(f"{path}: expected one JSON object, found {type(said).__name__}; obtain the file again")
    return Scales(path, said)


def pixel_size(
    array: FloatArray, xy: FloatArray, scales: Scales, spots: Sequence[str], where: str
) -> tuple[float | None, list[str]]:
    """Micrometres per full-resolution pixel and what contradicts it.

    A Visium array gives it by the map of its positions to pixels, bins by what the scale factors say. Spots that do not
    lie on that map are left out of it. ``spot_diameter_fullres`` is no 55 um in older versions and gives none.

    Args:
        array: (n_spots, 2) columns and rows of the array.
        xy: (n_spots, 2) places, full-resolution pixels.
        scales: scale factors.
        spots: names of the rows.
        where: file of the positions, for messages.

    Raises:
        DataError: array and pixel positions contradict each other on more than a tenth of the spots.
    """
    off = off_array(array, xy, OFF_ARRAY)
    if off.sum() > max(1.0, _MOST_OFF * len(off)):
        raise DataError(
            f"{where}: expected pixel positions that follow the array positions, found {int(off.sum())} of {len(off)} "
            f"spots elsewhere (first {spots[int(np.argmax(off))]}); obtain the file again"
        )
    bin_um, said = bin_um_of(scales, spots), scales.number("microns_per_pixel")
    fitted = _of_array(array[~off], xy[~off], bin_um)
    found = said if bin_um is not None and said is not None else fitted or said
    bins = "" if bin_um is None else f"bins of {bin_um:g} um"
    notes = [] if found is not None or steps_px(array, xy) is None else [_unknown(array[~off], xy[~off], bins, scales)]
    if said is not None and fitted is not None and differ(said, fitted):
        notes.append(
            f"pixel size: {scales.path.name} says {said:.4g} um/px, the positions on the {bins or 'array of Visium'} "
            f"say {fitted:.4g}: {found:.4g} is used"
        )
    return found, notes + _diameter(scales, found, bin_um)


def bin_um_of(scales: Scales, spots: Sequence[str]) -> float | None:
    """Side of a bin in micrometres by the scale factors or the names of the spots; None for what has no bins."""
    named = _BIN.match(spots[0]) if spots else None
    return scales.number("bin_size_um") or (float(named[1]) if named else None)


def of_visium(array: FloatArray, xy: FloatArray, scales: Scales, spots: Sequence[str]) -> bool:
    """Whether positions on the array tell the pixel size: those of Visium's hexagon, and those of bins."""
    if bin_um_of(scales, spots) is not None:
        return True
    fits = ~off_array(array, xy, OFF_ARRAY)
    steps = steps_px(array[fits], xy[fits])
    return steps is not None and is_hexagonal(steps)


def _of_array(array: FloatArray, xy: FloatArray, bin_um: float | None) -> float | None:
    steps = steps_px(array, xy)
    if steps is None or not (is_hexagonal(steps) if bin_um is None else is_square(steps)):
        return None
    um = (array - array.mean(axis=0)) * (VISIUM_STEP_UM if bin_um is None else np.full(2, bin_um))
    px_per_um = np.linalg.lstsq(um, xy - xy.mean(axis=0), rcond=None)[0]
    area = abs(float(np.linalg.det(px_per_um)))
    return area**-0.5 if area > 0 else None


def _unknown(array: FloatArray, xy: FloatArray, bins: str, scales: Scales) -> str:
    steps = steps_px(array, xy)
    column, row = (0.0, 0.0) if steps is None else np.linalg.norm(steps, axis=1)
    wanted = "50 to 86.6 as those of Visium" if not bins else f"equal as those of {bins}"
    return (
        f"pixel size unknown: columns lie {column:.4g} px and rows {row:.4g} px apart, expected {wanted}; "
        f"write microns_per_pixel into {scales.path.parent.name}/{scales.path.name}"
    )


def _diameter(scales: Scales, um_per_px: float | None, bin_um: float | None) -> list[str]:
    """A line where the diameter of a spot is none that spots or bins have."""
    px = scales.number("spot_diameter_fullres")
    if px is None or um_per_px is None:
        return []
    um = px * um_per_px
    least, most = _DIAMETER_UM if bin_um is None else (bin_um * 0.9, bin_um * 1.1)
    if least <= um <= most:
        return []
    wanted = "55 um of a Visium spot" if bin_um is None else f"{bin_um:g} um of a bin"
    return [
        f"spot_diameter_fullres in {scales.path.name}: {px:.4g} px are {um:.4g} um at {um_per_px:.4g} um/px, "
        f"expected the {wanted}: scale factors and positions are not of one picture"
    ]
