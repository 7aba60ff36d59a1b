"""Where spots lie, as files say it: tables of Space Ranger in any spelling, ``obsm['spatial']`` in any container."""

from __future__ import annotations

from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stbench.data.readers.counts import FloatArray, check_columns, check_unique, numbers, shown
from stbench.errors import DataError
from stbench.reading import ARRAYS, UNREADABLE, check_regular, check_table, opened
from stbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
_WIDEST = 1e9  # no picture is
_ROW_BYTES = 128  # of a position in memory, its barcode included
_UNNAMED = "__index_level_0__"  # pandas: row names without a name, in Parquet
_SEURAT = ("cell", "tissue", "row", "col", "imagerow", "imagecol")
_KNOWN = dict(zip((*COLUMNS, *_SEURAT), (*COLUMNS, *COLUMNS), strict=True))
_X = (
    "x",
    "pxl_col_in_fullres",
    "pixel_x",
    "imagecol",
    "col",
    "column",
    "x_centroid",
    "spatial_x",
    "x_pixel",
    "pxl_col",
)
_Y = ("y", "pxl_row_in_fullres", "pixel_y", "imagerow", "row", "row", "y_centroid", "spatial_y", "y_pixel", "pxl_row")


def read_positions(path: Path) -> pd.DataFrame:
    """Positions of all spots, indexed by barcode.

    With and without a header, quoted or not, with a byte order mark, with row names, separated by comma, semicolon or
    tab: what R and spreadsheets make of the file when they save it; gzipped where its name ends in .gz. Or Parquet.

    Raises:
        DataError: missing columns, a value that is no number, or a barcode twice.
    """
    try:
        table = _parquet(path) if path.suffix == ".parquet" else _table(path)
    except UNREADABLE as error:
        found = one_line(str(error)) or type(error).__name__
        raise DataError(f"{path}: expected a table of spot positions, found: {found}; obtain it again") from error
    check_columns(table, COLUMNS, str(path))
    values = numbers(table, COLUMNS[1:], str(path))
    table[list(COLUMNS[1:])] = values
    if (wide := float(np.abs(values).max(initial=0))) > _WIDEST:
        raise DataError(f"{path}: expected positions of at most {_WIDEST:.0e}, found {wide:.4g}; obtain it again")
    table = table.set_index(table[COLUMNS[0]].astype(str).str.strip())
    check_unique(list(table.index), "spot", str(path))
    return table[list(COLUMNS[1:])]


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    encoding, separator, first = spelling(path)
    header = any(_plain(cell) in _KNOWN for cell in first.split(separator))
    table = pd.read_csv(
        path,
        sep=separator,
        header=0 if header else None,
        encoding=encoding,
        decimal="," if separator == ";" else ".",
        skipinitialspace=True,
    )
    return _named(table) if header else _unnamed(table)


def _parquet(path: Path) -> pd.DataFrame:
    """The known columns of a Parquet file; how many rows it declares is held against a limit first."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{path}: expected pyarrow, which reads Parquet, found none; pip install 'stbench[hd]'"
        ) from error
    check_regular(path)
    try:
        said = pyarrow.parquet.read_metadata(path)
        groups = [said.row_group(i) for i in range(said.num_row_groups)]
        ARRAYS.check(max(said.num_rows, sum(group.num_rows for group in groups)) * _ROW_BYTES, "rows")
        ARRAYS.check(sum(group.total_byte_size for group in groups), "columns")
        known = [name for name in said.schema.to_arrow_schema().names if _plain(name) in _KNOWN or name == _UNNAMED]
        # Texts as a dictionary: one that is repeated ten million times takes no more than one.
        texts = [name for name in known if _KNOWN.get(_plain(name), COLUMNS[0]) == COLUMNS[0]]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            table = file.read(columns=known, use_threads=False).to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowException, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return _named(table.rename(columns={_UNNAMED: COLUMNS[0]}))


def spelling(path: Path) -> tuple[str, str, str]:
    """Encoding, separator and first line of a table, however R or a spreadsheet saved it, gzipped or not.

    Raises:
        OSError: no file, or one that is no table.
        EOFError: (or zlib.error) a gzipped one is damaged.
        ValueError: neither UTF-8 nor UTF-16.
    """
    check_table(path)
    with opened(path) as file:
        encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with TextIOWrapper(opened(path), encoding=encoding) as text:
        first = text.readline()
    return encoding, max(",;\t", key=first.count), first


def _plain(name: object) -> str:
    return str(name).strip().strip("\"'").strip().lower()


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Columns by their names; row names are the barcodes where no column is."""
    import pandas as pd

    table.columns = pd.Index([_KNOWN.get(_plain(name), _plain(name)) for name in table.columns])
    if COLUMNS[0] in table.columns:
        return table.reset_index(drop=True)
    if not isinstance(table.index, pd.RangeIndex):
        return table.rename_axis(COLUMNS[0]).reset_index()
    unnamed = table.columns[0] if table.shape[1] else ""
    return table.rename(columns={unnamed: COLUMNS[0]}) if unnamed in ("", "unnamed: 0") else table


def _unnamed(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    if table.shape[1] == len(COLUMNS) + 1 and not pd.api.types.is_numeric_dtype(table[1]):
        table = table.iloc[:, 1:]  # row names before the barcodes
    if table.shape[1] == len(COLUMNS):
        table.columns = pd.Index(COLUMNS)
    return table


def pixel_positions(values: Any, spots: Sequence[str], where: str) -> FloatArray:
    """(n_spots, 2) x and y in pixels of an entry of ``obsm``; those of a table by the names of its columns.

    Raises:
        DataError: names the text, the shape or the columns that were found in place of positions.
    """
    if hasattr(values, "columns"):
        values = _by_name(values, where)
    shape = np.shape(values)
    if len(shape) != 2 or shape[1] < 2:
        raise DataError(
            f"{where}: expected obsm['spatial'] of shape (n_spots, 2), found {shape}; obtain the file again"
        )
    array = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    try:
        return np.asarray(array[:, :2], dtype=np.float64)
    except (TypeError, ValueError) as error:
        row, text = next((i, cell) for i, line in enumerate(array[:, :2]) for cell in line if not _is_number(cell))
        raise DataError(
            f"{where}: expected numbers in obsm['spatial'], found {text!r} at spot {spots[row]}; read the table of "
            "positions with its header, or remove the row, and write the file again"
        ) from error


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _by_name(table: Any, where: str) -> Any:
    names = [_plain(name) for name in table.columns]
    for x, y in zip(_X, _Y, strict=True):
        if names.count(x) == names.count(y) == 1:
            return table.iloc[:, [names.index(x), names.index(y)]].to_numpy()
    if names == [str(i) for i in range(len(names))] and len(names) >= 2:
        return table.to_numpy()
    raise DataError(
        f"{where}: expected the columns x and y in the table obsm['spatial'], found {shown(names)}; rename them"
    )
