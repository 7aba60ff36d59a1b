"""Which row of a file of features belongs to which spot: by barcodes, else by coordinates, else by order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.data.geometry import neighbour_px
from stbench.data.readers.counts import check_unique, shown
from stbench.errors import DataError
from stbench.reporting import Reporter

FloatArray = NDArray[np.float32]
Places = NDArray[np.float64]

_REACH_PX = 2.0  # corners and centres are rounded to whole pixels
_FOLLOWS = 0.9


class Table(NamedTuple):
    """What a file holds: (n_rows, d) float32 features, and of each row what the file says of its spot.

    Args:
        features: the vectors.
        barcodes: names of the spots.
        coords: (n_rows, 2) x and y of patches, corners or centres, full-resolution pixels.
        side: side of those patches in full-resolution pixels.
        tile: what the encoder made of the calibration tile.
    """

    features: FloatArray
    barcodes: list[str] | None
    coords: Places | None = None
    side: float | None = None
    tile: tuple[float, ...] | None = None


class Spots(NamedTuple):
    """The spots of a slide that rows are joined to.

    Args:
        names: of the spots.
        xy: (n_spots, 2) centres, full-resolution pixels; None joins nothing by coordinates.
        orders: files of the slide that list its spots in another order.
    """

    names: Sequence[str]
    xy: NDArray[np.float32] | None = None
    orders: Sequence[str] = ()


def aligned(table: Table, spots: Spots, path: Path, reporter: Reporter) -> FloatArray:
    """(n_spots, d) features in the order of the spots.

    Raises:
        DataError: a spot without row, a barcode given twice, coordinates that are not those of the spots or fit them in
            more than one way; without barcodes and coordinates another number of rows, or files of the slide that
            differ in the order of its spots.
    """
    if table.barcodes is not None:
        return _by_barcode(table, table.barcodes, spots, path, reporter)
    if table.coords is not None and spots.xy is not None:
        rows = _by_place(table.coords, table.side, np.asarray(spots.xy, dtype=np.float64), path)
        _left_over(len(table.features) - len(set(rows.tolist())), len(table.features), path, reporter)
        found: FloatArray = table.features[rows]
        return found
    _check_order(table, spots, path)
    return table.features


def _check_order(table: Table, spots: Spots, path: Path) -> None:
    if len(table.features) != len(spots.names):
        raise DataError(
            f"{path}: expected a row for each of {len(spots.names)} spots, found {len(table.features)} and no barcodes "
            "to join them on; store barcodes beside the features"
        )
    if spots.orders:
        raise DataError(
            f"{path}: expected barcodes or coords to join rows on, found neither, and {spots.orders[0]} lists the "
            "spots in another order than the counts: either may be that of the rows; store barcodes beside the features"
        )


def _by_barcode(table: Table, barcodes: list[str], spots: Spots, path: Path, reporter: Reporter) -> FloatArray:
    check_unique(barcodes, "barcode", str(path))
    row = {barcode: i for i, barcode in enumerate(barcodes)}
    missing = [spot for spot in spots.names if spot not in row]
    if missing:
        raise DataError(
            f"{path}: expected a row for each of {len(spots.names)} spots, found none for {len(missing)} "
            f"({shown(missing)}); its barcodes: {shown(barcodes)}; extract them, or take those spots out of the slide"
        )
    rows = [row[spot] for spot in spots.names]
    _left_over(len(row) - len(rows), len(row), path, reporter)
    if table.coords is not None and spots.xy is not None and not _follow(table.coords[rows], spots.xy):
        reporter.info(
            f"{path.name}: its coordinates are not those of the spots that its barcodes name; barcodes are used"
        )
    found: FloatArray = table.features[rows]
    return found


def _left_over(n: int, n_rows: int, path: Path, reporter: Reporter) -> None:
    if n > 0:
        reporter.info(f"{path.name}: {n} of {n_rows} rows left out that belong to no spot")


def _follow(coords: Places, xy: NDArray[np.float32]) -> bool:
    """Whether coordinates grow with the places of the spots; true where they, or the spots, lie on a line."""
    if len(xy) < 3 or not (np.ptp(coords, axis=0).all() and np.ptp(xy, axis=0).all()):
        return True
    return all(np.corrcoef(coords[:, axis], xy[:, axis])[0, 1] > _FOLLOWS for axis in (0, 1))


def _by_place(coords: Places, side: float | None, xy: Places, path: Path) -> NDArray[np.int64]:
    """(n_spots,) row of every spot: its patch's centre, or the corner half a side before it."""
    near = neighbour_px(xy)
    reach = _REACH_PX if near is None else min(_REACH_PX, 0.45 * near[0])
    tree = cKDTree(coords)
    shifts = [np.array([side / 2])] if side is not None else []
    for tried in (*shifts, _shifts(coords, xy, reach)):
        orders = {rows.tobytes(): rows for shift in tried if (rows := _rows(tree, xy - shift, reach)) is not None}
        if len(orders) > 1:
            raise DataError(
                f"{path}: expected coords that fit the spots in one way, found {len(orders)}; store barcodes beside "
                "the features, or the attribute patch_size_level0 on coords"
            )
        if orders:
            return next(iter(orders.values()))
    raise DataError(
        f"{path}: expected coords of a patch around each of {len(xy)} spots in full-resolution pixels, found x "
        f"{coords[:, 0].min():.0f} to {coords[:, 0].max():.0f}, y {coords[:, 1].min():.0f} to {coords[:, 1].max():.0f} "
        f"that do not lie on them (x {xy[:, 0].min():.0f} to {xy[:, 0].max():.0f}, y {xy[:, 1].min():.0f} to "
        f"{xy[:, 1].max():.0f}); extract them at the spots, or store barcodes beside the features"
    )


def _shifts(coords: Places, xy: Places, reach: float) -> Places:
    """Distances from corner to centre, the same along x and y, that bring some row to the first spot."""
    apart = xy[0] - coords
    square = (np.abs(apart[:, 0] - apart[:, 1]) <= 2 * reach) & (apart.mean(axis=1) > -reach)
    return np.unique(np.rint(apart[square].mean(axis=1)))


def _rows(tree: cKDTree, places: Places, reach: float) -> NDArray[np.int64] | None:
    """(n_spots,) the only row within reach of every place; None where a place has none or two."""
    n_near = min(2, tree.n)
    distance, row = (np.asarray(found) for found in tree.query(places, k=[1, n_near]))
    alone = (distance[:, 1] > reach) | (n_near == 1)
    return row[:, 0].astype(np.int64) if (distance[:, 0] <= reach).all() and alone.all() else None
