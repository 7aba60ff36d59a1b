"""Tables of where the spots of legacy Spatial Transcriptomics lie."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stbench.data.readers.count_table import POSITION
from stbench.data.readers.counts import check_columns, check_unique, numbers
from stbench.data.readers.positions import spelling
from stbench.errors import DataError
from stbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

PLACES = ("x", "y", "pixel_x", "pixel_y")
SELECTED = "selected"
_BY_NAME = ("X", "Y")  # pixels in tables whose first column names the spots


def read_spots(path: Path, columns: Sequence[str] = PLACES) -> pd.DataFrame:
    """Positions of all spots of a table, indexed ``<x>x<y>`` as the counts name them.

    Read are tables with ``x, y`` on the array and ``pixel_x, pixel_y``, as the ST Spot Detector writes them, and those
    whose first column names the spots with their pixels in ``X, Y``.

    Args:
        path: the table, separated by tabs, commas or semicolons, gzipped where its name ends in .gz.
        columns: columns that must hold a number in every row.

    Returns:
        The table, ``selected`` as boolean where it has that column.

    Raises:
        DataError: damaged, missing columns, a value that is no number, or a spot twice.
    """
    import pandas as pd

    table = _by_name(_spots_table(path))
    check_columns(table, columns, str(path))
    table[list(columns)] = numbers(table, columns, str(path))
    x, y = (np.rint(table[axis]).astype(np.int64) for axis in ("x", "y"))
    table.index = pd.Index([f"{column}x{row}" for column, row in zip(x, y, strict=True)])
    check_unique(list(table.index), "spot", str(path))
    if SELECTED in table.columns:
        table[SELECTED] = _chosen(table, path)
    return table


def _spots_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        encoding, separator, _ = spelling(path)
        decimal = "," if separator == ";" else "."
        table = pd.read_csv(path, sep=separator, encoding=encoding, decimal=decimal, skipinitialspace=True)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"{path}: expected a table of spots, found: {one_line(str(error))}; obtain the file again"
        ) from error
    table.columns = table.columns.astype(str).str.strip()
    return table if isinstance(table.index, pd.RangeIndex) else table.rename_axis("").reset_index()


def _by_name(table: pd.DataFrame) -> pd.DataFrame:
    """A table of named spots and pixels in the columns of the others."""
    if PLACES[2] in table.columns or not {*_BY_NAME} <= set(table.columns):
        return table
    found = [POSITION.fullmatch(str(name)) for name in table.iloc[:, 0]]
    if not all(found):
        return table
    named = table.rename(columns=dict(zip(_BY_NAME, PLACES[2:], strict=True)))
    named["x"], named["y"] = ([int(spot[i]) for spot in found if spot is not None] for i in (1, 2))
    return named


def _chosen(table: pd.DataFrame, path: Path) -> NDArray[np.bool_]:
    """(n_rows,) whether each spot lies under tissue."""
    values = numbers(table, [SELECTED], str(path))[:, 0]
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise DataError(
            f"{path}, row {wrong[0] + 1}, column {SELECTED}: expected 1 under tissue and 0 elsewhere, "
            f"found {values[wrong[0]]:g}; repair the row"
        )
    return np.asarray(values == 1)
