"""HDF5 files: what anndata would have written, and disks that fill up while they are written."""

import os
import signal

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy.sparse import csr_matrix

from stbench.data import hdf5_writing
from stbench.data.hdf5_writing import new_hdf5, write_h5ad
from stbench.process import ending_as_interrupted

from ..robustness._caches_tools import room


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(1.0, size=(40, 30)).astype(np.int32))
    obs = pd.DataFrame({"domain": rng.choice(["a", "b"], 40)}, index=[f"s{i}" for i in range(40)])
    made = AnnData(counts, obs=obs, layers={"draw_0": rng.normal(size=(40, 30)).astype(np.float32)})
    made.obsm["spatial"] = rng.normal(size=(40, 2)).astype(np.float32)
    made.uns["facts"] = {"name": "slide", "share": 0.5, "parts": np.array(["x", "y"], dtype=object)}
    return made


def content(path):
    """Every group, array and attribute of a file."""
    found = {}

    def visit(name, part):
        values = part[()] if isinstance(part, h5py.Dataset) else None
        storage = (part.dtype, part.chunks, part.compression) if isinstance(part, h5py.Dataset) else None
        found[name] = repr((values, storage, sorted(part.attrs.items())))

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return found


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_the_file_is_what_anndata_writes(adata, tmp_path, compression):
    write_h5ad(adata.copy(), tmp_path / "ours.h5ad", compression=compression)
    adata.write_h5ad(tmp_path / "theirs.h5ad", compression=compression)
    assert content(tmp_path / "ours.h5ad") == content(tmp_path / "theirs.h5ad")
    assert (read_h5ad(tmp_path / "ours.h5ad").X != adata.X).nnz == 0


def test_a_prediction_without_obsm_or_a_matrix(tmp_path):
    bare = AnnData(obs=pd.DataFrame(index=["a", "b"]))
    write_h5ad(bare, tmp_path / "ours.h5ad")
    bare.write_h5ad(tmp_path / "theirs.h5ad")
    assert content(tmp_path / "ours.h5ad") == content(tmp_path / "theirs.h5ad")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_disk_that_fills_up_anywhere_is_an_error_of_the_system(adata, tmp_path, compression):
    write_h5ad(adata.copy(), tmp_path / "whole.h5ad", compression=compression)
    size = (tmp_path / "whole.h5ad").stat().st_size
    for share in np.linspace(0, 0.99, 12):
        with room(int(share * size)), pytest.raises(OSError, match="File too large"):
            write_h5ad(adata.copy(), tmp_path / "part.h5ad", compression=compression)
    with room(size):
        write_h5ad(adata.copy(), tmp_path / "part.h5ad", compression=compression)
    assert (tmp_path / "part.h5ad").read_bytes() == (tmp_path / "whole.h5ad").read_bytes()


def test_long_writing_can_end_early(tmp_path):
    done = []

    def fill():
        with new_hdf5(tmp_path / "x.h5") as (file, check):
            rows = file.create_dataset("rows", (400, 100_000), np.uint8, chunks=(1, 100_000))
            for row in range(400):
                rows[row] = row
                done.append(row)
                check()

    with room(2_000_000), pytest.raises(OSError, match="File too large"):
        fill()
    assert 20 <= len(done) < 150  # some megabytes wait in memory


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_anywhere_is_neither_lost_nor_does_it_leave_a_file_that_looks_whole(
    adata, tmp_path, monkeypatch, number
):
    """It strikes in every fifth call that the library makes while it writes."""
    calls, strikes, write = [], [0], hdf5_writing._Spilling.write

    def struck(self, data):
        calls.append(len(calls))
        if len(calls) == strikes[0]:
            os.kill(os.getpid(), number)
        return write(self, data)

    def work():
        with ending_as_interrupted():
            write_h5ad(adata.copy(), tmp_path / "x.h5ad")

    monkeypatch.setattr(hdf5_writing._Spilling, "write", struck)
    work()
    for strike in range(1, len(calls) + 1, 5):
        calls.clear()
        strikes[0] = strike
        with pytest.raises(KeyboardInterrupt):
            work()


def test_long_writing_is_interrupted_early(tmp_path):
    done = []

    def fill():
        with ending_as_interrupted(), new_hdf5(tmp_path / "x.h5") as (_, check):
            for step in range(10):
                done.append(step)
                if step == 4:
                    os.kill(os.getpid(), signal.SIGTERM)
                check()

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert done == [0, 1, 2, 3, 4]
