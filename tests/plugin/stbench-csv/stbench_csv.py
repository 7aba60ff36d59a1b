"""Slides as two files each: <id>.csv, a row per spot with its columns spot, x, y and one per gene, and <id>.png."""

from functools import partial

import numpy as np
import pandas as pd
from anndata import AnnData

from stbench.data.images import ImageFile
from stbench.data.readers.counts import as_counts
from stbench.data.readers.layout import Found, Layout, make_cohort
from stbench.data.slide import SPATIAL, TOTAL_COUNTS, Slide

UM_PER_PX = 0.5


def recognises(folder):
    return any(path.with_suffix(".png").is_file() for path in folder.glob("*.csv"))


def open_csv(name, folder, slides, *, require_image):
    found = [Found(path.stem, patient=path.stem.partition("_")[0]) for path in folder.glob("*.csv")]
    return make_cohort(name, "csv", found, slides, partial(read, folder))


def read(folder, slide_id, patient):
    path = folder / f"{slide_id}.csv"
    table = pd.read_csv(path, index_col="spot", dtype={"spot": str})
    genes = table.columns.drop(["x", "y"])
    adata = AnnData(as_counts(table[genes].to_numpy(), table.index, genes, str(path)))
    adata.obs_names, adata.var_names = table.index, genes
    adata.obsm[SPATIAL] = table[["x", "y"]].to_numpy(np.float32)
    adata.obs[TOTAL_COUNTS] = np.asarray(adata.X.sum(axis=1), dtype=float).ravel()
    return Slide(slide_id, patient, adata, ImageFile(path.with_suffix(".png"), UM_PER_PX), UM_PER_PX)


LAYOUT = Layout(signature="<id>.csv and <id>.png", recognises=recognises, open=open_csv)
