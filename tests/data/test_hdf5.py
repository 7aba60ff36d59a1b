"""HDF5 files of others: damaged parts, arrays elsewhere, sizes that nobody wrote, encodings of tomorrow."""

import os

import anndata
import h5py
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stbench.data.audit import audit
from stbench.data.hdf5 import check_header, read_h5ad
from stbench.data.opening import open_folder
from stbench.errors import DataError

from .layouts import counts, hest_adata, write_hest, write_spaceranger


@pytest.fixture
def root(tmp_path):
    for seed, name in enumerate(("S1", "S2", "S3")):
        write_hest(tmp_path, name, seed=seed)
    return tmp_path


def change(path, name, value):
    with h5py.File(path, "a") as file:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = value
        file[name].attrs.update(attributes)


def entry(name, place, value):
    def damage(path):
        with h5py.File(path, "a") as file:
            file[name][place] = value

    return damage


def longer(name, n):
    return lambda path: change(path, name, np.zeros(n, dtype=np.int32))


def attribute(name, key, value):
    def damage(path):
        with h5py.File(path, "a") as file:
            file[name].attrs[key] = value

    return damage


def failures(root, **options):
    report = audit(open_folder(root, require_image=False), **options)
    return {row.check: row.detail for row in report.rows if row.verdict == "FAIL"}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (entry("X/indices", 3, 4000), "a column index 4000 outside 0 to 3"),
        (entry("X/indices", 3, -1), "a column index -1 outside 0 to 3"),
        (entry("X/indptr", 2, 10**6), "indptr that does not rise"),
        (entry("X/indptr", 6, 3), "indptr that does not rise"),
        (entry("X/indices", 1, 0), "twice"),
        (longer("X/indptr", 3), r"indptr \(3,\) of a csr matrix of shape \(6, 4\) at /X"),
        (longer("X/indices", 2), r"indices \(2,\)"),
        (attribute("X", "shape", [3_000_000_000, 4]), r"shape \(3000000000, 4\)"),
        (attribute("X", "shape", [6]), r"a sparse matrix of shape \[6\]"),
        (attribute("X", "shape", [6, 2]), "must have as many rows"),
        (attribute("X", "encoding-type", "csr_matrix_of_tomorrow"), "pip install --upgrade anndata"),
        (longer("obs/array_row", 4), "intact"),
        (longer("obsm/spatial", 6), "shape"),
    ],
)
def test_a_damaged_slide_is_one_row_of_the_audit(root, damage, said):
    damage(root / "st/S2.h5ad")
    found = failures(root)
    assert set(found) == {"slide S2"}
    assert "S2.h5ad: expected" in found["slide S2"]
    assert len(found["slide S2"].splitlines()) == 1
    with pytest.raises(DataError, match=said):
        open_folder(root, require_image=False).load("S2")


@pytest.mark.parametrize("place", ["layers", "obsm", "obsp", "varm", "raw"])
def test_every_sparse_array_is_looked_at(tmp_path, place):
    adata = hest_adata()
    bad = csr_matrix(np.eye(4 if place == "varm" else 6, 6 if place == "obsp" else 4))
    if place == "raw":
        adata.raw = anndata.AnnData(bad, obs=adata.obs)
    else:
        getattr(adata, place)["more"] = bad
    adata.write_h5ad(tmp_path / "a.h5ad")
    read_h5ad(tmp_path / "a.h5ad")
    entry("raw/X/indices" if place == "raw" else f"{place}/more/indices", 1, 99)(tmp_path / "a.h5ad")
    with pytest.raises(DataError, match=rf"{place}.*: a sparse matrix with a column index 99 outside"):
        read_h5ad(tmp_path / "a.h5ad")


def test_a_row_count_that_nobody_wrote(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("barcodes", shape=(3_000_000_000,), dtype=np.int64, chunks=(10**6,))
    assert (tmp_path / "a.h5").stat().st_size < 10**5
    with pytest.raises(OSError, match=r"arrays of 24 GB or more, where at most 16 GB are read .*STBENCH_MAX_ARRAYS_GB"):
        check_header(tmp_path / "a.h5")


def test_declared_rows_in_every_layout(root, tmp_path):
    for name in ("barcode", "coords"):
        with h5py.File(root / "patches/S2.h5", "a") as file:
            kept = file[name][:]
            del file[name]
            file.create_dataset(name, shape=(3_000_000_000, 2), dtype=np.int64, chunks=(10**6, 2))
        assert "STBENCH_MAX_ARRAYS_GB" in failures(root)["slide S2"]
        with h5py.File(root / "patches/S2.h5", "a") as file:
            del file[name]
            file[name] = kept
    write_spaceranger(tmp_path / "visium")
    with h5py.File(tmp_path / "visium/151673/filtered_feature_bc_matrix.h5", "a") as file:
        del file["matrix/data"]
        file.create_dataset("matrix/data", shape=(3_000_000_000,), dtype=np.int64, chunks=(10**6,))
    assert "STBENCH_MAX_ARRAYS_GB" in failures(tmp_path / "visium")["slide 151673"]


def test_arrays_that_lie_elsewhere(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(3)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "/x")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((3,), dtype=np.int64)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3,))
        file.create_virtual_dataset("x", layout)
    with h5py.File(tmp_path / "stored.h5", "w") as file:
        file.create_dataset("x", (3,), dtype=np.uint8, external=[(str(tmp_path / "other.h5"), 0, 3)])
    for name, said in (("link", "a link to another file at /x"), ("virtual", "lie in another"), ("stored", "lie in")):
        with pytest.raises(ValueError, match=said):
            check_header(tmp_path / f"{name}.h5")


def test_groups_that_hold_themselves(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("a")["again"] = file["/"]
        file["/a/x"] = np.arange(3)
    check_header(tmp_path / "a.h5")
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        group = file
        for _ in range(70):
            group = group.create_group("g")
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        check_header(tmp_path / "deep.h5")


def test_a_file_of_a_newer_anndata_names_the_encoding_and_the_remedy(root):
    with h5py.File(root / "st/S2.h5ad", "a") as file:
        file["uns"].create_dataset("n", data=1).attrs.update({"encoding-type": "future", "encoding-version": "9"})
    found = failures(root)
    assert set(found) == {"slide S2"}
    assert "S2.h5ad: expected a file that the installed anndata" in found["slide S2"]
    assert "found the encoding 'future 9' at /uns/n, of a newer one" in found["slide S2"]
    assert found["slide S2"].endswith("update anndata: pip install --upgrade anndata")


@pytest.mark.parametrize("header", ["pxl_col_in_fullres", "x y"])
def test_positions_that_are_text_are_named(root, header):
    adata = hest_adata(seed=1)
    text = adata.obsm["spatial"].astype(int).astype(str).astype(object)
    text[0, 0] = header
    adata.obsm["spatial"] = text
    write_hest(root, "S2", adata=adata, patches=None)
    found = failures(root)
    assert set(found) == {"slide S2"}
    assert f"expected numbers in obsm['spatial'], found '{header}' at spot" in found["slide S2"]


def test_positions_that_are_numbers_in_text_are_numbers(tmp_path):
    adata = hest_adata()
    wanted = adata.obsm["spatial"].copy()
    adata.obsm["spatial"] = wanted.astype(str).astype(object)
    write_hest(tmp_path, adata=adata, patches=None)
    np.testing.assert_array_equal(open_folder(tmp_path, require_image=False).load("S1").xy, wanted)


@pytest.mark.parametrize("place", ["st/S2.h5ad", "patches/S2.h5"])
def test_a_pipe_in_place_of_a_file(root, place):
    (root / place).unlink()
    os.mkfifo(root / place)
    found = failures(root)
    assert set(found) <= {"slide S2"}  # patches that are no file are none
    assert all("a pipe, no file" in said for said in found.values())


@pytest.mark.parametrize("key", ["name", "id", "feature_type"])
def test_features_of_another_number_than_genes(tmp_path, key):
    write_spaceranger(tmp_path)
    path = tmp_path / "151673/filtered_feature_bc_matrix.h5"
    with h5py.File(path, "a") as file:
        kept = file[f"matrix/features/{key}"][:-1]
        del file[f"matrix/features/{key}"]
        file[f"matrix/features/{key}"] = kept
    with pytest.raises(DataError, match=f"3 entries of features/{key} for 4 genes"):
        open_folder(tmp_path).load("151673")


def test_patches_whose_facts_are_no_numbers(root):
    attribute("coords", "patch_size_src", "wide")(root / "patches/S2.h5")
    attribute("coords", "patch_size_src", -16)(root / "patches/S3.h5")
    attribute("img", "patch_size_src", "wide")(root / "patches/S2.h5")
    attribute("img", "patch_size_src", -16)(root / "patches/S3.h5")
    found = failures(root)
    assert set(found) == {"slide S2", "slide S3"}
    assert "patch_size_src: expected a positive number, found -16.0" in found["slide S3"]


def test_columns_of_one_gene_whose_sum_is_no_count(tmp_path):
    matrix = counts().astype(np.int64)
    matrix[0, :2] = 2**31 - 1
    write_hest(tmp_path, adata=hest_adata(matrix, genes=["A", "A", "B", "C"]), patches=None)
    with pytest.raises(DataError, match="as columns of one gene are added"):
        open_folder(tmp_path, require_image=False).load("S1")


@pytest.mark.parametrize("value", [["P1"], {"id": "P1"}, True])
def test_metadata_of_another_type_leave_one_slide_out(root, value):
    write_hest(root, "S2", seed=1, patient=value)
    found = failures(root)
    assert set(found) == {"left out: S2"}
    assert "S2.json: expected a text or a number as patient, found" in found["left out: S2"]
