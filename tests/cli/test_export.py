"""`stbench export`, on a tiny simulated cohort."""

from pathlib import Path

import anndata

from .conftest import TINY


def test_predictions_for_people(stbench):
    words = ["--no-controls", *TINY, "--encoder", "mean-rgb", "--genes", "5", "--out", "mine"]
    assert stbench("run", "--method", "ridge", *words).code == 0
    ended = stbench("export", "mine/ridge", "plain")
    assert (ended.code, ended.out) == (0, "2 slides in plain\n"), ended.err
    assert stbench("export", "mine", "full", "--with-truth").code == 0
    library = [anndata.read_h5ad(path).uns["spatial"][path.stem] for path in Path("full").iterdir()]
    assert all(max(found["images"]["hires"].shape) <= 1000 for found in library)
    truths = [sorted(anndata.read_h5ad(path).layers) for path in Path("full").iterdir()]
    assert sorted(truths) == [["draw_0"], ["draw_0", "truth"]]
    assert "expected a new or empty folder, found plain in use" in stbench("export", "mine/ridge", "plain").reason
