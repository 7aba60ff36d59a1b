"""A slide of which there is a picture and nothing else: its spots are laid over the tissue, or given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.data.geometry import pitch_px
from stbench.data.images import ImageFile
from stbench.data.pixel_size import said_um_per_px
from stbench.data.readers.positions import spelling
from stbench.data.slide import ARRAY, SPATIAL, Slide
from stbench.data.tissue import tissue_grid
from stbench.errors import DataError, SettingError
from stbench.reading import UNREADABLE
from stbench.text import first_line

FloatArray = NDArray[np.float32]
_PLACES = (("pixel_x", "pixel_y"), ("pxl_col_in_fullres", "pxl_row_in_fullres"), ("x_pixel", "y_pixel"), ("x", "y"))
_ARRAYS = (("array_x", "array_y"), ("array_col", "array_row"), ("x", "y"))
_NAMES = ("spot", "spot_id", "barcode", "id")
_MOST_SPOTS = 5_000_000


def bare_slide(
    path: Path,
    *,
    um_per_px: float | None = None,
    pitch_um: float | None = None,
    hexagonal: bool = False,
    spots: Path | None = None,
) -> Slide:
    """A slide without counts.

    Args:
        path: the picture; its name without the ending is the slide's.
        um_per_px: micrometres per full-resolution pixel; None takes what the picture says, or what the distance of
            given spots implies where that distance is known.
        pitch_um: distance of neighbouring spots in micrometres, of the grid or of those given.
        hexagonal: whether the grid is that of Visium, else a square one.
        spots: table of positions (CSV or TSV) in place of a grid: ``pixel_x`` and ``pixel_y``, or ``x`` and ``y``, in
            full-resolution pixels.

    Raises:
        DataError: the picture or the table cannot be read, or there is no tissue on the picture.
        SettingError: the size of a pixel, or the distance of spots, is needed and not known.
    """
    name = path.name.removesuffix(path.suffix).removesuffix(".ome")
    um_per_px = um_per_px or said_um_per_px(path)
    if spots is not None:
        ids, xy, array = read_spots(spots)
        return _slide(name, path, um_per_px or _implied(xy, array, pitch_um), ids, xy, array)
    if um_per_px is None:
        raise SettingError(
            f"slide {name}: expected the size of a pixel, found none in {path.name}; say it: --um-per-px 0.5"
        )
    if pitch_um is None:
        raise SettingError(
            f"slide {name}: expected the distance of spots, found none in the model; say it: --pitch 100"
        )
    image = ImageFile(path, um_per_px)
    width, height = image.size()
    n = width * height * (um_per_px / pitch_um) ** 2
    if n > _MOST_SPOTS:
        raise SettingError(
            f"slide {name}: expected at most {_MOST_SPOTS} spots, found room for {n:.3g} of {pitch_um:.4g} um on "
            f"{width} x {height} px of {um_per_px:.4g} um; check --um-per-px and --pitch"
        )
    grid = tissue_grid(image, name, um_per_px, pitch_um, hexagonal=hexagonal)
    ids = [f"{column}x{row}" for column, row in grid.array_xy.astype(int).tolist()]
    return _slide(name, path, um_per_px, ids, grid.xy, grid.array_xy)


def _implied(xy: FloatArray, array: FloatArray | None, pitch_um: float | None) -> float | None:
    places = None if array is None else np.asarray(array, dtype=np.float64)
    found = pitch_px(np.asarray(xy, dtype=np.float64), places)
    return None if pitch_um is None or found is None else pitch_um / found


def _slide(
    name: str,
    path: Path,
    um_per_px: float | None,
    ids: list[str],
    xy: FloatArray,
    array: FloatArray | None,
) -> Slide:
    import pandas as pd
    from anndata import AnnData

    adata = AnnData(
        csr_matrix(np.empty((len(ids), 0), dtype=np.int32)), obs=pd.DataFrame(index=pd.Index(ids, dtype=object))
    )
    adata.obsm[SPATIAL] = xy
    if array is not None:
        adata.obsm[ARRAY] = array
    return Slide(name, None, adata, ImageFile(path, um_per_px), um_per_px)


def read_spots(path: Path) -> tuple[list[str], FloatArray, FloatArray | None]:
    """Names, places in full-resolution pixels, and array positions where the table has both.

    Raises:
        DataError: no table, no places in it, a place that is no number, or two spots of one name.
    """
    import pandas as pd

    try:
        encoding, separator, _ = spelling(path)
        table = pd.read_csv(path, sep=separator, encoding=encoding, decimal="," if separator == ";" else ".")
    except UNREADABLE as error:
        raise DataError(f"--spots: expected a table of positions in {path}, found: {first_line(error)}") from error
    table.columns = table.columns.astype(str)
    places = _pair(table, _PLACES)
    if places is None or not len(table):
        found = ", ".join(table.columns[:8]) or "none"
        raise DataError(
            f"--spots: expected rows with pixel_x and pixel_y, or x and y, in {path}, found {len(table)} with columns "
            f"{found}; name the two columns so"
        )
    if "selected" in table:
        table = table[table["selected"] == 1]
    xy = _numbers(table, places, path)
    array = next((pair for pair in _ARRAYS if pair != places and set(pair) <= set(table.columns)), None)
    grid = None if array is None else _numbers(table, array, path)
    names = _named(table, grid)
    if len(set(names)) < len(names):
        raise DataError(f"--spots: expected every spot once in {path}, found one of {len(names)} names again")
    return names, xy, grid


def _pair(table: object, pairs: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    return next((pair for pair in pairs if set(pair) <= set(table.columns)), None)  # type: ignore[attr-defined]


def _numbers(table: object, columns: tuple[str, str], path: Path) -> FloatArray:
    import pandas as pd

    found = table[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)  # type: ignore[index]
    broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(broken):
        raise DataError(
            f"--spots: expected numbers in {columns[0]} and {columns[1]} of {path}, found others in row "
            f"{int(broken[0]) + 1} and {len(broken) - 1} more; repair the table"
        )
    return found.astype(np.float32)


def _named(table: object, grid: FloatArray | None) -> list[str]:
    column = next((name for name in _NAMES if name in table.columns), None)  # type: ignore[attr-defined]
    if column is not None:
        return [str(name) for name in table[column]]  # type: ignore[index]
    if grid is not None:
        return [f"{x}x{y}" for x, y in np.rint(grid).astype(int).tolist()]
    return [str(row) for row in range(1, len(table) + 1)]  # type: ignore[arg-type]
