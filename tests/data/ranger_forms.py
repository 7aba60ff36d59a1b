"""One plain slide of Space Ranger in the other forms that people keep: each function moves the files of its folder."""

import gzip
import shutil

import h5py
import numpy as np
import pandas as pd
import scipy.io
from scipy.sparse import csc_matrix

MATRIX = "filtered_feature_bc_matrix.h5"
MARKET = "filtered_feature_bc_matrix"
POSITIONS = "tissue_positions_list.csv"
COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]


def packed(path):
    """gzip a file under its name and .gz."""
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()


def packed_spatial(place):
    for path in list((place / "spatial").iterdir()):
        packed(path)


def into_outs(place):
    (place / "outs").mkdir()
    for path in list(place.iterdir()):
        if path.name not in ("outs", "layers.tsv"):
            path.rename(place / "outs" / path.name)
    if (place / "layers.tsv").exists():
        (place / "layers.tsv").rename(place / "outs/layers.tsv")


def renamed(place, prefix="GSM600001_V2"):
    """As GEO gives files: the sample's name before each, folders no more, texts and pictures packed."""
    for path in list((place / "spatial").iterdir()):
        path.rename(place / f"{prefix}_{path.name}")
        packed(place / f"{prefix}_{path.name}")
    (place / "spatial").rmdir()
    for name in (MATRIX, f"{MARKET}.tar.gz", "layers.tsv"):
        if (place / name).exists():
            (place / name).rename(place / f"{prefix}_{name}")
    for path in list((place / MARKET).glob("*")):
        path.rename(place / f"{prefix}_{path.name}")


def renamed_in_place(place):
    """Another name before the files, each where it was."""
    (place / MATRIX).rename(place / f"GSM600001_{MATRIX}")
    for path in list((place / "spatial").iterdir()):
        path.rename(path.with_name(f"run-7_{path.name}"))


def market(place, *, genes=False, pack=True):
    """``filtered_feature_bc_matrix/`` as version 3 writes it, or with ``genes.tsv`` as version 2."""
    with h5py.File(place / MATRIX) as file:
        group = file["matrix"]
        parts = [group[key][:] for key in ("data", "indices", "indptr")]
        matrix = csc_matrix(tuple(parts), shape=tuple(group["shape"][:]))
        barcodes = [name.decode() for name in group["barcodes"][:]]
        columns = [[text.decode() for text in group["features"][key][:]] for key in ("id", "name", "feature_type")]
    (place / MATRIX).unlink()
    folder = place / MARKET
    folder.mkdir()
    scipy.io.mmwrite(folder / "matrix.mtx", matrix.astype(np.int32), symmetry="general")
    (folder / "barcodes.tsv").write_text("".join(f"{name}\n" for name in barcodes))
    rows = zip(*(columns[:2] if genes else columns), strict=True)
    (folder / ("genes.tsv" if genes else "features.tsv")).write_text("".join("\t".join(row) + "\n" for row in rows))
    for path in list(folder.iterdir()) if pack else []:
        packed(path)


def old_market(place):
    market(place, genes=True, pack=False)


def loose_market(place):
    """Files in Matrix Market form beside ``spatial/``, the sample's name before them."""
    market(place)
    for path in list((place / MARKET).iterdir()):
        path.rename(place / f"GSM600001_V2_{path.name}")
    (place / MARKET).rmdir()


def headed(place):
    """Positions as version 2 writes them."""
    table = pd.read_csv(place / "spatial" / POSITIONS, header=None, names=COLUMNS)
    table.to_csv(place / "spatial/tissue_positions.csv", index=False)
    (place / "spatial" / POSITIONS).unlink()


def parquet(place):
    table = pd.read_csv(place / "spatial" / POSITIONS, header=None, names=COLUMNS)
    table.to_parquet(place / "spatial/tissue_positions.parquet", index=False)
    (place / "spatial" / POSITIONS).unlink()


def all_at_once(place):
    market(place)
    parquet(place)
    into_outs(place)


FORMS = {
    form.__name__: form
    for form in (
        packed_spatial,
        into_outs,
        renamed,
        renamed_in_place,
        market,
        old_market,
        loose_market,
        headed,
        parquet,
        all_at_once,
    )
}


def flat(cohort):
    """All slides of a cohort in one folder, as the archive of a GEO series unpacks."""
    for number, place in enumerate(sorted(path for path in cohort.iterdir() if path.is_dir())):
        name = f"GSM60000{number}_{place.name}"
        renamed(place, name)
        for path in list(place.glob("GSM*")):
            path.rename(cohort / path.name)
        shutil.rmtree(place)
