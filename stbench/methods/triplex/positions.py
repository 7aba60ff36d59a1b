"""Where spots lie among each other: the grid of a slide, the 5 x 5 window around a spot, tiles outside the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.methods.base import FloatArray

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

SIDE = 5  # tiles of a neighbourhood in each direction
CENTRE = SIDE * SIDE // 2
_PIXEL_STEP = 20.0  # pixels that the released position encoding rounds to
_HEXAGONAL = (0.5, 3**0.5 / 2)  # steps of a column and a row of Visium's array, in distances between spots
_TILE, _REACH = 1.12, 0.6  # tiles of 112 um, a spot within 60 um stands for one, at Visium's 100 um between spots
_ON_GRID = 0.25
_ASIDE = 1e-3  # of two spots equally far from a tile's centre the right or lower one is taken


def array_cells(array_xy: FloatArray) -> Index:
    """(N, 2) column and row of each spot, counted from 0, from (N, 2) array positions."""
    places = np.rint(array_xy).astype(np.int64)
    return places - places.min(axis=0)


def pixel_cells(xy: FloatArray) -> Index:
    """(N, 2) column and row of each spot from (N, 2) pixels, by the released rule.

    The grid has as many columns as there are distinct values of x / 20, rounded; positions are scaled onto it linearly.
    """
    places = xy.astype(np.float32)
    distinct = np.round(places / np.float32(_PIXEL_STEP))
    size = np.array([len(np.unique(values)) for values in distinct.T], dtype=np.float32)
    low = places.min(axis=0)
    span = places.max(axis=0) - low + np.float32(1e-5)
    return np.round((places - low) / span * (size - 1)).astype(np.int64)


def grid_windows(array_xy: FloatArray, xy: FloatArray) -> Index:
    """The spots that stand for the 25 tiles around each spot.

    Square arrays: the spots at array offsets -2..2. Staggered ones (all positions of one parity, as Visium's): the spot
    nearest to each tile of 1.12 distances between spots, within 0.6 of them.

    Args:
        array_xy: (N, 2) array positions, x right, y down.
        xy: (N, 2) pixels, which tell the two steps of a staggered array apart.

    Returns:
        (N, 25) rows of the slide, tile by tile from left to right and down; -1 where there is no spot. The middle one
        is the spot itself.
    """
    cells = array_cells(array_xy)
    steps, tile, reach = np.ones(2), 1.0, _ON_GRID
    if _staggered(cells):
        steps = _steps(cells, xy)
        pitch = min(2 * steps[0], 2 * steps[1], float(np.hypot(*steps)))
        tile, reach = _TILE * pitch, _REACH * pitch
    places = cells * steps
    offsets = tile_offsets() * tile + _ASIDE * tile
    wanted = places[:, None, :] + offsets
    _, found = cKDTree(places).query(wanted, distance_upper_bound=reach)
    windows = np.where(found == len(places), -1, found).astype(np.int64)
    windows[:, CENTRE] = np.arange(len(places))
    return windows


def tile_offsets() -> NDArray[np.float64]:
    """(25, 2) x and y of the tiles relative to the middle one, in tiles."""
    steps = np.arange(SIDE) - SIDE // 2
    y, x = np.meshgrid(steps, steps, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def tile_mask(xy: FloatArray, tile_px: float, size: tuple[int, int]) -> Mask:
    """(N, 25) False for tiles that reach beyond the picture; the middle one always counts.

    Args:
        xy: (N, 2) spot centres in pixels.
        tile_px: side of a tile in pixels.
        size: width and height of the picture in pixels.
    """
    offsets = tile_offsets()
    ends = xy[:, None, :] + tile_px * (offsets + 0.5 * np.sign(offsets))
    inside = np.all((ends >= 0) & (ends <= np.array(size)), axis=2)
    inside[:, CENTRE] = True
    return inside


def smoothed(expression: FloatArray, array_xy: FloatArray) -> FloatArray:
    """(N, G) mean over each spot and the spots whose array column and row are both within 1 of its own."""
    cells = array_cells(array_xy)
    near = cKDTree(cells).query_ball_point(cells, 1.0 + _ON_GRID, p=np.inf)
    return np.stack([expression[rows].mean(axis=0, dtype=np.float64) for rows in near]).astype(np.float32)


def _staggered(cells: Index) -> bool:
    return len(cells) > 1 and len(np.unique(cells.sum(axis=1) % 2)) == 1


def _steps(cells: Index, xy: FloatArray) -> NDArray[np.float64]:
    """Length of a column and of a row, in pixels; Visium's where the spots do not tell."""
    centred = cells - cells.mean(axis=0)
    axes, _, rank, _ = np.linalg.lstsq(centred, xy - xy.mean(axis=0, dtype=np.float64), rcond=None)
    steps: NDArray[np.float64] = np.hypot(axes[:, 0], axes[:, 1])
    return steps if rank == 2 and steps.min() > 0 else np.array(_HEXAGONAL)
