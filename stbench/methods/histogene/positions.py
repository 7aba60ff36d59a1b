"""Spots to rows of the position tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.errors import DataError
from stbench.methods.base import SlideInputs

Positions = NDArray[np.int64]  # (n_spots, 2), column 0 for the x table, column 1 for the y table


def grid_positions(inputs: SlideInputs, source: str) -> Positions:
    """(n_spots, 2) whole-numbered positions of the spots.

    Args:
        inputs: the slide.
        source: ``array``: array positions, rounded; ``xy``: pixels in units of the pitch (median distance to the
            nearest spot), counted from the slide's own corner.

    Raises:
        DataError: no array positions, or negative ones.
    """
    if source == "xy":
        return np.rint((inputs.xy - inputs.xy.min(axis=0)) / _pitch(inputs.xy)).astype(np.int64)
    if inputs.array_xy is None:
        raise DataError(without_array(inputs))
    found = np.rint(inputs.array_xy).astype(np.int64)
    if found.min(initial=0) < 0:
        raise DataError(
            f"slide {inputs.slide_id}: expected array positions of 0 or more, found {found.min()}; "
            "--set positions=xy lays a grid over the pixels"
        )
    return found


def without_array(inputs: SlideInputs) -> str:
    """What to say of a slide without array positions."""
    return (
        f"slide {inputs.slide_id}: expected array positions, found none; "
        "--set positions=xy lays a grid over the pixels instead"
    )


def seen_positions(slides: list[Positions]) -> tuple[Positions, Positions]:
    """Sorted x and y positions that occur on any of the slides."""
    every = np.concatenate(slides)
    return np.unique(every[:, 0]), np.unique(every[:, 1])


def nearest_seen(positions: NDArray[np.int64], seen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each position, or the nearest one seen in training; the lower of two equally near."""
    right = np.searchsorted(seen, positions).clip(0, len(seen) - 1)
    left = (right - 1).clip(0)
    closer = np.abs(seen[left] - positions) <= np.abs(seen[right] - positions)
    return np.where(closer, seen[left], seen[right])


def check_rows(inputs: SlideInputs, positions: Positions, rows: tuple[int, int]) -> None:
    """Raise DataError where a position lies beyond its table."""
    for axis, name in enumerate("xy"):
        largest = int(positions[:, axis].max(initial=0))
        if largest >= rows[axis]:
            raise DataError(
                f"slide {inputs.slide_id}: expected {name} positions below {rows[axis]}, the rows of their table, "
                f"found {largest}; set unseen_positions=nearest, or a larger table_rows before fitting"
            )


def _pitch(xy: NDArray[np.float32]) -> float:
    if len(xy) < 2:
        return 1.0
    distances = np.asarray(cKDTree(xy).query(xy, k=[2])[0])
    return float(np.median(distances)) or 1.0
