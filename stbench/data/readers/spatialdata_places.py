"""Where elements of a SpatialData store lie: shapes, points and pictures in one frame of pixels, and their unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stbench.data.geometry import differ
from stbench.data.readers.counts import FloatArray
from stbench.data.readers.spatialdata_listing import Picture, Section, systems_of
from stbench.data.store_picture import StorePicture
from stbench.errors import DataError
from stbench.reading import ARRAYS, check_regular
from stbench.text import listed

_MICROMETRES = {"micrometer", "micrometers", "micrometre", "micrometres", "micron", "microns", "um", "µm", "μm"}
_FIRST = "global"  # of several systems that two elements share
_ROUNDING = 1e-6  # px
_ALIKE = 0.01
_SHAPES = "shapes.parquet"


@dataclass(frozen=True)
class Frame:
    """How an element lies in full-resolution pixels.

    Args:
        matrix: (3, 3), from the element's x, y, 1 to full-resolution pixels.
        image: the picture, None where there is none.
        um_per_px: micrometres per full-resolution pixel by a coordinate system in micrometres, None without one.
    """

    matrix: FloatArray
    image: StorePicture | None
    um_per_px: float | None

    def pixels(self, xy: FloatArray) -> FloatArray:
        """(n, 2) full-resolution pixels of places (n, 2) of the element."""
        if np.array_equal(self.matrix, np.eye(3)):
            return xy
        return np.asarray(xy @ self.matrix[:2, :2].T + self.matrix[:2, 2])


def frame_of(section: Section, *, own_um: bool = False) -> Frame:
    """The frame of a section: pixels of its finest picture, or of what that was reduced from.

    Where shapes are nothing but a multiple of the picture's pixels, as spots are of a preview's, they are themselves
    in full-resolution pixels.

    Args:
        section: of a store.
        own_um: whether the element's own unit is known to be a micrometre.

    Raises:
        DataError: a transformation that is not finite or cannot be undone, or two pictures as fine as each other.
    """
    own = _affine(section.place)
    um = 1.0 if own_um else _um_per_unit(section.place, own)
    if not section.pictures:
        return Frame(np.eye(3), None, um)
    maps = {picture: _to_pixels(own, picture) for picture in section.pictures}
    picture = _finest(maps, section.store)
    matrix, scale = maps[picture], 1.0
    um_there = _um_per_unit(picture.path, _affine(picture.path))
    reduced = _multiple(matrix)
    if reduced is not None and reduced < 1 and not (um and abs(um - 1) < _ROUNDING) and section.table is not None:
        matrix, scale = np.eye(3), reduced
    per_px = um / _size(matrix) if um else um_there * scale if um_there else None
    image = StorePicture(picture.path, picture.levels, picture.order, per_px, scale)
    if scale < 1:
        width, height = image.size()
        image.finer = f"add the microscope's picture of about {width} x {height} px to the images of {section.store}"
    return Frame(matrix, image, per_px)


def _to_pixels(own: Mapping[str, FloatArray], picture: Picture) -> FloatArray:
    its = _affine(picture.path)
    system = min(own.keys() & its.keys(), key=lambda name: (name != _FIRST, name))
    matrix = np.linalg.solve(its[system], own[system])
    return np.asarray(np.where(np.abs(matrix - np.eye(3)) < 1e-12, np.eye(3), matrix))


def _finest(maps: Mapping[Picture, FloatArray], store: Path) -> Picture:
    """The picture with most pixels to a unit of the element."""
    ordered = sorted(maps, key=lambda picture: -_size(maps[picture]))
    if len(ordered) > 1 and not differ(_size(maps[ordered[0]]), _size(maps[ordered[1]]), _ALIKE):
        names = listed([picture.path.name for picture in ordered[:2]], " and ")
        raise DataError(f"{store}: expected one H&E picture, found {names}, as fine as each other; remove one")
    return ordered[0]


def _affine(place: Path) -> dict[str, FloatArray]:
    """Coordinate systems of an element to (3, 3) matrices into them."""
    from spatialdata.transformations import BaseTransformation
    from spatialdata.transformations.ngff.ngff_transformations import NgffBaseTransformation

    found = {}
    for name, said in systems_of(place).items():
        into = BaseTransformation.from_ngff(NgffBaseTransformation.from_dict(dict(said)))
        matrix = np.asarray(into.to_affine_matrix(("x", "y"), ("x", "y")), dtype=np.float64)
        if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:2, :2])) < np.finfo(np.float32).tiny:
            raise DataError(
                f"{place}: expected a transformation into {name} of finite numbers that can be undone, found "
                f"{matrix[:2].tolist()}; set the right one with spatialdata.transformations.set_transformation"
            )
        found[name] = matrix
    return found


def _um_per_unit(place: Path, into: Mapping[str, FloatArray]) -> float | None:
    """Micrometres per unit of an element, by the first system whose name or unit is a micrometre."""
    for name, said in systems_of(place).items():
        units = {
            str(axis.get("unit")).lower() for axis in said["output"].get("axes", []) if axis.get("name") in ("x", "y")
        }
        if name.lower() in _MICROMETRES or (units and units <= _MICROMETRES):
            return _size(into[name])
    return None


def _size(matrix: FloatArray) -> float:
    return float(abs(np.linalg.det(matrix[:2, :2])) ** 0.5)


def _multiple(matrix: FloatArray) -> float | None:
    """The factor of a map that is nothing else, None of another one."""
    factor = float(matrix[0, 0])
    return factor if np.allclose(matrix, np.diag([factor, factor, 1.0]), rtol=1e-9, atol=_ROUNDING * 1e-3) else None


def centres_of(place: Path) -> tuple[list[str], FloatArray]:
    """Names and (n, 2) centres of shapes, all of one size, in units of their own.

    Raises:
        DataError: no circles or polygons, or of many sizes, as cells are.
        OSError: (or ValueError) the file is missing, larger than the limit or damaged.
    """
    import geopandas
    import shapely

    path = place / _SHAPES
    if not path.is_file():
        raise OSError(
            f"no {_SHAPES} in shapes/{place.name}/; read and write the store with a new spatialdata if it is of 2023"
        )
    check_parquet(path)
    shapes = geopandas.read_parquet(path)
    geometry = np.asarray(shapes.geometry.values)
    centres = shapely.centroid(geometry)
    area = np.asarray(shapes["radius"], dtype=np.float64) ** 2 if "radius" in shapes else shapely.area(geometry)
    if len(area) and not np.ptp(area) <= _ALIKE * np.median(area):
        raise DataError(
            f"{place}: expected spots or bins of one size, found areas from {area.min():.4g} to {area.max():.4g}; "
            "cells are not read"
        )
    return [str(name) for name in shapes.index], np.column_stack([shapely.get_x(centres), shapely.get_y(centres)])


def check_parquet(path: Path) -> Any:
    """Metadata of a Parquet file that is held against the limit on arrays; raises OSError or ValueError."""
    import pyarrow
    import pyarrow.parquet

    check_regular(path)
    try:
        said = pyarrow.parquet.read_metadata(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path.name}: {error}") from error
    ARRAYS.check(sum(said.row_group(i).total_byte_size for i in range(said.num_row_groups)), f"columns of {path.name}")
    return said
