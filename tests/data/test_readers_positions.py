"""Tables of positions as R and spreadsheets save them, and positions in every container of AnnData."""

import csv

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from stbench.data.readers.positions import COLUMNS, pixel_positions, read_positions
from stbench.errors import DataError

from .layouts import visium

TABLE = visium()
SEURAT = TABLE.set_axis(["", "tissue", "row", "col", "imagerow", "imagecol"], axis=1)


def as_text(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding, newline="")


SAVED = {
    "as written": lambda path: TABLE.to_csv(path, index=False),
    "without a header": lambda path: TABLE.to_csv(path, index=False, header=False),
    "quoted": lambda path: TABLE.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC),
    "all quoted": lambda path: TABLE.to_csv(path, index=False, quoting=csv.QUOTE_ALL),
    "quoted without a header": lambda path: TABLE.to_csv(path, index=False, header=False, quoting=csv.QUOTE_ALL),
    "byte order mark": lambda path: as_text(path, TABLE.to_csv(index=False), "utf-8-sig"),
    "byte order mark, no header": lambda path: as_text(path, TABLE.to_csv(index=False, header=False), "utf-8-sig"),
    "utf-16": lambda path: as_text(path, TABLE.to_csv(index=False, sep="\t"), "utf-16"),
    "row names": lambda path: TABLE.to_csv(path),
    "quoted row names": lambda path: TABLE.to_csv(path, quoting=csv.QUOTE_ALL),
    "row names without a header": lambda path: TABLE.to_csv(path, header=False),
    "barcodes as row names": lambda path: TABLE.set_index("barcode").rename_axis(None).to_csv(path),
    "write.table": lambda path: as_text(path, TABLE.to_csv().removeprefix(",")),
    "write.table, barcodes as row names": lambda path: as_text(path, TABLE[[*COLUMNS]].to_csv(index=False)[8:]),
    "semicolons": lambda path: TABLE.to_csv(path, index=False, sep=";", decimal=","),
    "semicolons and points": lambda path: TABLE.to_csv(path, index=False, sep=";"),
    "tabs": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
    "other columns and order": lambda path: TABLE.assign(more=1)[["more", *reversed(COLUMNS)]].to_csv(
        path, index=False
    ),
    "capitals and blanks": lambda path: as_text(
        path, TABLE.to_csv(index=False).replace("barcode,in_t", " Barcode, In_T")
    ),
    "line ends of Windows": lambda path: as_text(path, TABLE.to_csv(index=False, lineterminator="\r\n")),
    "logicals of R": lambda path: as_text(path, TABLE.assign(in_tissue="TRUE").to_csv(index=False)),
    "Seurat": lambda path: SEURAT.to_csv(path, index=False),
}


@pytest.mark.parametrize("how", SAVED)
def test_however_it_is_saved_it_is_the_same_table(tmp_path, how):
    path = tmp_path / "tissue_positions.csv"
    SAVED[how](path)
    found = read_positions(path)
    assert list(found.index) == list(TABLE["barcode"])
    np.testing.assert_allclose(found[list(COLUMNS[1:])].astype(float), TABLE[list(COLUMNS[1:])].astype(float))


def test_a_table_of_other_things_is_named(tmp_path):
    path = tmp_path / "tissue_positions.csv"
    TABLE.drop(columns="pxl_row_in_fullres").to_csv(path, index=False)
    with pytest.raises(DataError, match=r"expected the columns .* without pxl_row_in_fullres"):
        read_positions(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe" * 9)
    with pytest.raises(DataError, match=r"tissue_positions\.csv: expected a table of spot positions, found"):
        read_positions(path)
    path.write_text("")
    with pytest.raises(DataError, match=r"tissue_positions\.csv: expected"):
        read_positions(path)


XY = np.array([[10.0, 200.0], [11.5, 210.0], [12.0, 220.0]])
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    "values",
    [
        XY,
        XY.astype(object),
        XY.astype(str),
        csr_matrix(XY),
        np.column_stack([XY, XY[:, 0]]),
        pd.DataFrame(XY, columns=["x", "y"]),
        pd.DataFrame(XY[:, ::-1], columns=["y", "x"]),
        pd.DataFrame(XY[:, ::-1], columns=["pxl_row_in_fullres", "pxl_col_in_fullres"]),
        pd.DataFrame(XY[:, ::-1], columns=["imagerow", "imagecol"]),
        pd.DataFrame(XY[:, ::-1], columns=["row", "col"]),
        pd.DataFrame({"z": 1, "Y": XY[:, 1], "X": XY[:, 0]}),
        pd.DataFrame(XY),
    ],
)
def test_positions_in_any_container(values):
    np.testing.assert_allclose(pixel_positions(values, NAMES, "f"), XY, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([["10", "20"], ["pxl_col", "pxl_row"]], dtype=object), "'pxl_col' at spot b"),
        (pd.DataFrame(XY, columns=["first", "second"]), "found first, second; rename them"),
        (pd.DataFrame(XY[:, :1], columns=["x"]), "found x; rename them"),
        (XY[:, 0], r"found \(3,\)"),
    ],
)  # fmt: skip
def test_what_is_no_position_is_named(values, found):
    with pytest.raises(DataError, match=rf"f: expected .*obsm\['spatial'\].*{found}"):
        pixel_positions(values, NAMES, "f")
