"""Redundant facts of one slide compared: places in the picture, places on the array, the pitch, the size of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.errors import DataError

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

VISIUM_UM = 100.0
# A Visium array is hexagonal: columns are numbered every half pitch, rows lie the height of a triangle apart.
VISIUM_STEP_UM = np.array([VISIUM_UM / 2, VISIUM_UM * 3**0.5 / 2])
_HEXAGON = 3**-0.5  # step of a column over step of a row
_ALIKE = 0.1
_OFF = 0.5  # of the pitch: legacy arrays are printed up to 0.44 of it beside their place
_PITCH_RATIO = 1.2
_TWICE = 0.1  # share of spots at the place of another from which on a file holds two sections
_DRAWS = 300
_STAGGERED = np.array([(1, 1), (1, -1), (2, 0), (0, 2)])  # from a spot to its neighbours on a staggered array
_ROUNDING_PX = 1.0  # of positions kept as whole pixels


@dataclass(frozen=True)
class Pitch:
    """Distance of neighbouring spots.

    Args:
        least_um: smallest that is possible, micrometres.
        most_um: largest that is possible, micrometres.
        said: who says so, for messages.
    """

    least_um: float
    most_um: float
    said: str


def technology_pitch(technology: str | None, inter_spot_um: float | None = None) -> Pitch | None:
    """The pitch that a technology has, None where it has none of its own (bins, cells) or is unknown.

    Args:
        technology: as metadata name it, such as ``Visium`` or ``Spatial Transcriptomics``.
        inter_spot_um: what metadata say of the slide itself; wins over the technology.
    """
    if inter_spot_um is not None:
        return Pitch(inter_spot_um, inter_spot_um, "inter_spot_dist")
    name = " ".join((technology or "").lower().replace("-", " ").replace("_", " ").split())
    if "visium" in name and "hd" not in name.split() and "visiumhd" not in name:
        return Pitch(VISIUM_UM, VISIUM_UM, "Visium")
    return Pitch(100.0, 200.0, "Spatial Transcriptomics") if name == "spatial transcriptomics" else None


def neighbour_px(xy: FloatArray) -> tuple[float, float] | None:
    """Tenth percentile and median of the distance to the nearest other place, None with fewer than two places.

    Args:
        xy: (n_spots, 2) places, pixels.
    """
    places = np.unique(xy, axis=0)
    if len(places) < 2:
        return None
    nearest = np.asarray(cKDTree(places).query(places, k=2)[0])[:, 1]
    low, middle = np.quantile(nearest, [0.1, 0.5])
    return float(low), float(middle)


def off_array(array: FloatArray, xy: FloatArray, limit: float = _OFF) -> Mask:
    """Spots that do not lie where their array position should, by the affine map that most spots agree on.

    Args:
        array: (n_spots, 2) array positions.
        xy: (n_spots, 2) places in the picture, pixels.
        limit: distance that is too far, in pitches.

    Returns:
        (n_spots,) mask; all false where the positions lie on a line or there are fewer than four.
    """
    none = np.zeros(len(xy), dtype=np.bool_)
    near = neighbour_px(xy)
    if len(xy) < 4 or near is None or np.linalg.matrix_rank(array - array.mean(axis=0)) < 2:
        return none
    far = max(limit * near[1], _ROUNDING_PX)
    fits = _distance(array, xy, ~none) <= far
    if fits.all():
        return none
    for _ in range(5 if (fits := _most_agree(array, xy, far)).any() else 0):
        fits = _distance(array, xy, fits) <= far
    return np.asarray(~fits, dtype=np.bool_)


def _most_agree(array: FloatArray, xy: FloatArray, far: float) -> Mask:
    """Spots that agree with the best of many maps through three spots each."""
    generator = np.random.default_rng(0)
    best = np.zeros(len(xy), dtype=np.bool_)
    for _ in range(_DRAWS):
        three = generator.choice(len(xy), 3, replace=False)
        if abs(np.linalg.det(np.column_stack([array[three], np.ones(3)]))) < 0.5:
            continue
        fits = _distance(array, xy, three) <= far
        best = fits if fits.sum() > best.sum() else best
    return best


def _distance(array: FloatArray, xy: FloatArray, rows: Mask | NDArray[np.int64]) -> FloatArray:
    """(n_spots,) pixels between every spot and its place by the map fitted to some of them."""
    centre, origin = array[rows].mean(axis=0), xy[rows].mean(axis=0)
    steps = np.linalg.lstsq(array[rows] - centre, xy[rows] - origin, rcond=None)[0]
    return np.asarray(np.linalg.norm((array - centre) @ steps + origin - xy, axis=1))


def steps_px(array: FloatArray, xy: FloatArray) -> FloatArray | None:
    """(2, 2) pixels that a step along each axis of the array goes, one row an axis; None where they lie on a line."""
    if len(array) < 3 or np.linalg.matrix_rank(array - array.mean(axis=0)) < 2:
        return None
    return np.asarray(np.linalg.lstsq(array - array.mean(axis=0), xy - xy.mean(axis=0), rcond=None)[0])


def is_hexagonal(steps: FloatArray) -> bool:
    """Whether steps (column, row, in either order) are those of a Visium array."""
    ratio = _ratio(steps)
    return any(abs(ratio * turn - 1) < _ALIKE for turn in (1 / _HEXAGON, _HEXAGON))


def is_square(steps: FloatArray) -> bool:
    """Whether steps along both axes are as long, as those of bins are."""
    return abs(_ratio(steps) - 1) < _ALIKE


def is_staggered(array: FloatArray) -> bool:
    """Whether every other position of an array is printed, as x + y even: neighbours lie across."""
    parity = np.unique(np.rint(array).astype(np.int64) % 2, axis=0)
    return len(parity) == 2 and bool((parity[0] != parity[1]).all())


def _ratio(steps: FloatArray) -> float:
    column, row = np.linalg.norm(steps, axis=1)
    return float(column / row) if row > 0 else 0.0


def pitch_px(xy: FloatArray, array: FloatArray | None = None) -> float | None:
    """Distance of neighbouring spots; by the array where there is one, as legacy spots are printed beside their place.

    Args:
        xy: (n_spots, 2) places, pixels.
        array: (n_spots, 2) array positions, None when unknown.

    Returns:
        Pixels; None with fewer than two places.
    """
    steps = None if array is None else steps_px(array, xy)
    if steps is not None and is_hexagonal(steps):
        return 2 * float(np.linalg.norm(steps, axis=1).min())
    if steps is not None and array is not None and is_staggered(array):
        return min(float(np.linalg.norm(neighbour @ steps)) for neighbour in _STAGGERED)
    if steps is not None and is_square(steps):
        return float(np.linalg.norm(steps, axis=1).mean())
    near = neighbour_px(xy)
    return None if near is None else near[1]


def differ(one: float, other: float, share: float = _ALIKE) -> bool:
    """Whether two numbers of one thing are further apart than rounding explains."""
    return abs(one - other) > share * max(abs(one), abs(other))


def doubts(
    xy: FloatArray,
    array: FloatArray | None,
    um_per_px: float | None,
    pitch: Pitch | None,
    spots: Sequence[str],
    limit: float = _OFF,
) -> list[str]:
    """What contradicts what, one line each; nothing where all facts agree.

    Args:
        xy: (n_spots, 2) places in the picture, full-resolution pixels.
        array: (n_spots, 2) array positions, None when unknown.
        um_per_px: micrometres per pixel, None when unknown.
        pitch: distance of neighbouring spots, None when unknown.
        spots: names of the rows.
        limit: distance from the array's place that is too far, in pitches.
    """
    found = [_pitch_doubt(xy, um_per_px, pitch), _shared_doubt(xy, spots, "place in the picture")]
    if array is not None:
        found += [_shared_doubt(array, spots, "array position"), _array_doubt(off_array(array, xy, limit), spots)]
    return [line for line in found if line]


def _pitch_doubt(xy: FloatArray, um_per_px: float | None, pitch: Pitch | None) -> str:
    near = neighbour_px(xy)
    if near is None or um_per_px is None or pitch is None:
        return ""
    low, middle = (distance * um_per_px for distance in near)
    if pitch.least_um <= middle * _PITCH_RATIO and low <= pitch.most_um * _PITCH_RATIO:
        return ""
    wanted = f"{pitch.least_um:g}" if pitch.least_um == pitch.most_um else f"{pitch.least_um:g} to {pitch.most_um:g}"
    return (
        f"neighbouring spots lie {near[1]:.4g} px = {middle:.4g} um apart at {um_per_px:.4g} um/px, expected {wanted} "
        f"um ({pitch.said}): positions and pixel size are not of one picture, and patches show another area than said"
    )


def _shared_doubt(places: FloatArray, spots: Sequence[str], what: str) -> str:
    twice = shared(places)
    if not twice.any():
        return ""
    return f"{int(twice.sum())} spots share their {what} with another (first {spots[int(np.argmax(twice))]})"


def _array_doubt(off: Mask, spots: Sequence[str]) -> str:
    if not off.any():
        return ""
    return (
        f"{int(off.sum())} of {len(off)} spots do not lie where the array positions of the others put them "
        f"(first {spots[int(np.argmax(off))]}): an array or a pixel position of theirs is wrong"
    )


def shared(places: FloatArray) -> Mask:
    """(n_spots,) mask of spots whose place an earlier row has."""
    _, first = np.unique(places, axis=0, return_index=True)
    again = np.ones(len(places), dtype=np.bool_)
    again[first] = False
    return again


def check_one_section(xy: FloatArray, spots: Sequence[str], libraries: Sequence[str], where: str) -> None:
    """Raise DataError where spots lie on one another as those of two sections in one file do.

    Args:
        xy: (n_spots, 2) places in the picture, pixels.
        spots: names of the rows.
        libraries: names of the samples that the file says it holds.
        where: file, for messages.
    """
    twice = shared(xy)
    if len(xy) and twice.mean() >= _TWICE:
        named = f", of the samples {', '.join(libraries[:3])}" if len(libraries) > 1 else ""
        raise DataError(
            f"{where}: expected one section, every spot at its own place, found {int(twice.sum())} of {len(xy)} spots "
            f"at the place of another (first {spots[int(np.argmax(twice))]}{named}); write one file per section"
        )
