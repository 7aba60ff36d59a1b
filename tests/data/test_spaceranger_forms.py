"""Output of Space Ranger in the forms that people keep it in: each is the same slide."""

import gzip
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stbench.data.audit import audit
from stbench.data.image import PatchSpec
from stbench.data.opening import open_folder
from stbench.errors import DataError

from .layouts import BARCODES, GENES, counts, picture, visium, write_matrix, write_spaceranger
from .ranger_forms import FORMS, MARKET, MATRIX, flat, market, packed, renamed


def load(root, slide):
    """A slide, its picture looked at before the files are moved."""
    found = open_folder(root).load(slide)
    return found, found.image.digest(), found.image.thumbnail(50)


def same(slide, loaded):
    known, digest, thumbnail = loaded
    assert slide.spot_ids == known.spot_ids
    assert slide.genes == known.genes
    assert list(slide.adata.var["gene_ids"]) == list(known.adata.var["gene_ids"])
    assert (slide.counts != known.counts).nnz == 0
    np.testing.assert_array_equal(slide.xy, known.xy)
    np.testing.assert_array_equal(slide.array_xy, known.array_xy)
    np.testing.assert_array_equal(slide.total_counts, known.total_counts)
    assert (slide.um_per_px, slide.patient, slide.notes) == (known.um_per_px, known.patient, known.notes)
    assert slide.image.digest() == digest
    np.testing.assert_array_equal(slide.image.thumbnail(50), thumbnail)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "cohort"
    for seed, slide in enumerate(("V1", "V2")):
        write_spaceranger(root, slide, counts(seed, len(BARCODES), len(GENES)), hires=True)
        table = pd.DataFrame({"barcode": BARCODES, "layer": "L1", "subject": slide, "sum_umi_all_genes": 1000 + seed})
        table.to_csv(root / slide / "layers.tsv", sep="\t", index=False)
    return root


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_slide(root, form):
    known = load(root, "V2")
    FORMS[form](root / "V2")
    found = open_folder(root)
    assert (found.ids, found.left_out, found.notes) == (("V1", "V2"), {}, ())
    same(found.load("V2"), known)
    (name,) = open_folder(root / "V2").ids
    same(open_folder(root / "V2").load(name), known)


def test_forms_side_by_side(root):
    known = load(root, "V2")
    for form in FORMS:
        shutil.copytree(root / "V2", root / form)
        FORMS[form](root / form)
    found = open_folder(root)
    assert set(found.ids) == {"V1", "V2", *FORMS}
    assert found.left_out == {}
    for form in FORMS:
        same(found.load(form), known)


@pytest.mark.parametrize("beside", [False, True])
def test_many_slides_in_one_folder(root, beside):
    known = {slide: load(root, slide) for slide in ("V1", "V2")}
    names = {"GSM600000_V1": "V1", "GSM600001_V2": "V2"}
    if beside:
        shutil.copytree(root / "V1", root.parent / "V3")
    flat(root)
    if beside:
        (root.parent / "V3").rename(root / "V3")
        names["V3"] = "V1"
    found = open_folder(root)
    assert (set(found.ids), found.left_out, found.notes) == (set(names), {}, ())
    for name, plain in names.items():
        same(found.load(name), known[plain])


def test_one_name_may_begin_with_another(root):
    """The pictures of S1_b are none of S1's."""
    for slide, name in (("V1", "S1"), ("V2", "S1_b")):
        renamed(root / slide, name)
        for path in list((root / slide).iterdir()):
            path.rename(root / path.name)
        (root / slide).rmdir()
        Image.fromarray(picture((600, 500), seed=len(name))).save(root / f"{name}_he.png")
    found = open_folder(root)
    for name in ("S1", "S1_b"):
        slide = found.load(name)
        assert (slide.image.path.name, slide.image.scale) == (f"{name}_he.png", 1.0)
        assert slide.notes == (f"picture {name}_he.png of full resolution is used",)
    (root / "S1_he.png").unlink()
    slide = open_folder(root).load("S1")
    assert slide.notes == ()
    assert slide.image.finer == f"put the microscope's picture of about 600 x 500 px into {root / 'S1.tif'}"


def test_a_packed_picture_of_full_resolution_is_told(root):
    path = root / "V1/he.tif"
    Image.fromarray(picture((600, 500))).save(path)
    packed(path)
    slide = open_folder(root).load("V1")
    (line,) = slide.notes
    assert (slide.image.scale, line.partition(": ")[0]) == (0.5, "picture he.tif.gz beside the matrix is not used")
    subprocess.run(line.partition(": ")[2], shell=True, check=True)
    slide = open_folder(root).load("V1")
    assert (slide.image.path.name, slide.image.scale) == ("he.tif", 1.0)


def test_what_space_ranger_made_is_no_picture_of_full_resolution(root):
    place = root / "V1"
    for name in ("cytassist_image.tiff", "aligned_fiducials.jpg", "S1_detected_tissue_image.jpg"):
        Image.fromarray(picture((600, 500))).save(place / name)
    slide = open_folder(root).load("V1")
    assert (slide.image.path.name, slide.notes) == ("tissue_hires_image.png", ())


def test_a_slide_in_one_folder_with_others_that_lacks_its_positions_is_named(root):
    for slide in ("V1", "V2"):
        market(root / slide)
    flat(root)
    (root / "GSM600001_V2_tissue_positions_list.csv.gz").unlink()
    found = open_folder(root)
    assert found.ids == ("GSM600000_V1",)
    assert found.left_out == {
        "GSM600001_V2": "no spot positions: expected GSM600001_V2_tissue_positions_list.csv",
    }


def test_counts_of_single_cells_are_no_slides(root):
    place = root.parent / "cells"
    (place / "a").mkdir(parents=True)
    market(root / "V1")
    for path in (root / "V1" / MARKET).iterdir():
        shutil.copy(path, place / f"GSM1_{path.name}")
    with pytest.raises(DataError, match="in a known layout"):
        open_folder(place)


def test_raw_counts_and_other_matrices_are_no_slides(root):
    market(root / "V1")
    shutil.copytree(root / "V1" / MARKET, root / "V1/raw_feature_bc_matrix")
    shutil.copy(root / "V2" / MATRIX, root / f"V2/copy_{MATRIX}")
    for name in ("matrix.mtx", "barcodes.tsv", "features.tsv"):
        shutil.copy(root / "V1" / MARKET / f"{name}.gz", root / f"V2/raw_feature_bc_matrix_{name}.gz")
    found = open_folder(root)
    assert (found.ids, found.left_out, found.notes) == (("V1", "V2"), {}, ())
    assert open_folder(root / "V1").ids == ("V1",)


def entries(path, change):
    """Change the lines of a Matrix Market file; the first is the header, the third has its sizes."""
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    change(lines)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def broken(line, text):
    return lambda place: entries(place / MARKET / "matrix.mtx.gz", lambda lines: lines.__setitem__(line, text))


def shorter(name):
    def change(place):
        path = place / MARKET / name
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).rpartition(b"\n")[0].rpartition(b"\n")[0]))

    return change


def cut(name):
    def change(place):
        path = place / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


BANNER = "%%MatrixMarket matrix coordinate integer general"
DAMAGE = {
    "a cut matrix": (
        cut(f"{MARKET}/matrix.mtx.gz"),
        r"matrix\.mtx\.gz: expected counts in Matrix Market.*ended before",
    ),
    "cut features": (cut(f"{MARKET}/features.tsv.gz"), r"features\.tsv\.gz: expected features.* ended before"),
    "no header": (broken(0, "barcode gene count"), r"found: 'barcode gene count' in its first line"),
    "a dense one": (
        broken(0, BANNER.replace("coordinate", "array")),
        r"found: '%%matrixmarket matrix array .*first line",
    ),
    "of patterns": (broken(0, BANNER.replace("integer", "pattern")), r"entries that are pattern, no counts"),
    "of no sizes": (broken(2, "8 4"), r"'8 4' in place of its size"),
    "of other sizes": (broken(2, "4 9 24"), r"4 features x 9 barcodes in its header, 4 x 8 in the lists beside it"),
    "of 3e9 rows": (broken(2, "3000000000 8 24"), r"3000000000 features x 8 barcodes in its header, 4 x 8"),
    "more than there are": (broken(2, "4 8 29"), r"entries of 3 numbers, its header says 29 of 3"),
    "fewer than there are": (broken(2, "4 8 2"), r"entries of 3 numbers, its header says 2 of 3"),
    "far more": (broken(2, "4 8 3000000000"), r"3000000000 counts in its header, which \d+ bytes cannot hold"),
    "a feature outside": (broken(3, "5 1 2"), r"feature 5 in entry 1, where there are 1 to 4"),
    "a barcode outside": (broken(4, "1 0 2"), r"barcode 0 in entry 2, where there are 1 to 8"),
    "half an index": (broken(4, "1.5 1 2"), r"feature 1\.5 in entry 2"),
    "below zero": (broken(3, "1 1 -3"), r"expected raw counts .*found -3\.0 at spot AAAC0+-1, gene ACTB"),
    "half a count": (broken(3, "1 1 2.5"), r"expected raw counts .*found 2\.5"),
    "too large": (broken(3, "1 1 99999999999999999999"), r"expected raw counts .*found 1\S*e\+20"),
    "a word": (broken(3, "1 1 x"), r"expected counts in Matrix Market form, found: "),
    "a number more": (broken(5, "1 1 2 3"), r"Expected 3 fields in line 6, saw 4"),
    "one place twice": (lambda place: twice(place), r"1 places with two counts"),
    "a barcode less": (shorter("barcodes.tsv.gz"), r"4 features x 8 barcodes in its header, 4 x 7"),
    "a feature less": (shorter("features.tsv.gz"), r"4 features x 8 barcodes in its header, 3 x 8"),
    "cut positions": (cut("spatial/tissue_positions_list.csv.gz"), r"list\.csv\.gz: expected a table .* ended before"),
    "cut scales": (cut("spatial/scalefactors_json.json.gz"), r"scalefactors_json\.json\.gz: expected scale .*EOFError"),
    "a cut picture": (cut("spatial/tissue_hires_image.png.gz"), r"picture .*hires_image\.png\.gz: .* ended before"),
}


def twice(place):
    entries(place / MARKET / "matrix.mtx.gz", lambda lines: lines.__setitem__(4, lines[3]))


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_slide_is_one_line_and_one_failure(root, what):
    damage, said = DAMAGE[what]
    place = root / "V2"
    market(place)
    FORMS["packed_spatial"](place)
    damage(place)
    found = {row.check: row for row in audit(open_folder(root, require_image=False)).rows if row.verdict == "FAIL"}
    assert list(found) == ["slide V2"]
    assert "\n" not in found["slide V2"].detail
    assert re.search(said, found["slide V2"].detail), found["slide V2"].detail


def test_memory_is_bound_before_a_count_is_read(root, monkeypatch):
    market(root / "V2")
    monkeypatch.setenv("STBENCH_MAX_ARRAYS_GB", "0.0000015")
    found = {row.check: row for row in audit(open_folder(root, require_image=False)).rows if row.verdict == "FAIL"}
    assert "counts of" in found["slide V2"].detail
    assert "set STBENCH_MAX_ARRAYS_GB" in found["slide V2"].detail


def test_a_packed_picture_is_bound(root, monkeypatch):
    packed(root / "V1/spatial/tissue_hires_image.png")
    monkeypatch.setenv("STBENCH_MAX_PICTURE_GB", "0.00001")
    found = {row.check: row.detail for row in audit(open_folder(root)).rows if row.verdict == "FAIL"}
    assert "tissue_hires_image.png.gz: expected an intact JPEG, PNG or TIFF, found: a file of" in found["slide V1"]


HD = (2, 8, 16)


def write_hd(place, sizes=HD, side_um=64, um_per_px=0.25):
    """A slide of Visium HD in 10x's layout: bins of several sizes over one square, a count of 1 for each 2 um."""
    for um in sizes:
        inner = place / f"binned_outputs/square_{um:03d}um"
        (inner / "spatial").mkdir(parents=True)
        n, step = side_um // um, um / um_per_px
        table = pd.DataFrame([(row, column) for row in range(n) for column in range(n)], columns=["row", "col"])
        names = [f"s_{um:03d}um_{row:05d}_{column:05d}-1" for row, column in table.to_numpy()]
        positions = pd.DataFrame({"barcode": names, "in_tissue": 1})
        positions["array_row"], positions["array_col"] = table["row"], table["col"]
        positions["pxl_row_in_fullres"] = 100 + (table["row"] + 0.5) * step
        positions["pxl_col_in_fullres"] = 100 + (table["col"] + 0.5) * step
        positions.to_parquet(inner / "spatial/tissue_positions.parquet", index=False)
        each = np.full((n * n, len(GENES)), (um // 2) ** 2) * np.arange(1, len(GENES) + 1)
        write_matrix(inner / MATRIX, each, barcodes=names)
        said = {"spot_diameter_fullres": step, "bin_size_um": float(um), "microns_per_pixel": um_per_px}
        said |= {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1, "regist_target_img_scalef": 0.5}
        (inner / "spatial/scalefactors_json.json").write_text(json.dumps(said))
        Image.fromarray(picture((240, 230))).save(inner / "spatial/tissue_hires_image.png")


@pytest.mark.parametrize("outs", [False, True])
def test_visium_hd(tmp_path, outs):
    root = tmp_path / "my cohort"
    place = root / "P1"
    write_hd(place / "outs" if outs else place)
    (place / "segmented_outputs").mkdir()
    found = open_folder(root)
    assert (found.ids, found.left_out, found.notes) == (("P1",), {}, ())
    slide = found.load("P1")
    assert (slide.n_spots, slide.um_per_px, slide.image.um_per_px, slide.image.scale) == (16, 0.25, 0.25, 0.5)
    assert slide.counts.toarray()[:, 0].tolist() == [64] * 16
    (line,) = slide.notes
    assert line.startswith(
        "bins of 16 um are read (square_016um of binned_outputs), square_002um, square_008um are there too: to read "
    )
    Image.fromarray(picture((480, 460))).save(place / "he.tif")
    slide = open_folder(root).load("P1")
    assert (slide.image.path.name, slide.image.scale) == ("he.tif", 1.0)
    patch = next(slide.image.patches(slide.spot_ids[:1], slide.xy[:1], PatchSpec(um=16)))
    np.testing.assert_array_equal(patch, picture((480, 460))[100:164, 100:164])


def test_bins_of_another_size_are_chosen_by_a_link(tmp_path):
    root = tmp_path / "my cohort"
    write_hd(root / "P1")
    command = open_folder(root).load("P1").notes[0].rpartition("to read others, ")[2]
    subprocess.run(command, shell=True, check=True)
    found = open_folder(root)
    assert (found.ids, found.left_out, found.notes) == (("P1-square_008um",), {}, ())
    slide = found.load("P1-square_008um")
    assert (slide.n_spots, slide.um_per_px, slide.notes) == (64, 0.25, ())
    assert slide.counts.toarray()[0].tolist() == [16, 32, 48, 64]


@pytest.mark.parametrize("um", HD)
def test_bins_of_one_size_opened_directly(tmp_path, um):
    write_hd(tmp_path / "P1/outs")
    found = open_folder(tmp_path / f"P1/outs/binned_outputs/square_{um:03d}um")
    assert found.ids == (f"square_{um:03d}um",)
    slide = found.load(f"square_{um:03d}um")
    assert (slide.n_spots, slide.um_per_px, slide.notes) == ((64 // um) ** 2, 0.25, ())
    for place in ("P1", "P1/outs"):
        (line,) = open_folder(tmp_path / place).load(place.rpartition("/")[2]).notes
        assert line.endswith(f"to read others, open {tmp_path / 'P1/outs/binned_outputs/square_008um'}")


@pytest.mark.parametrize(("sizes", "um"), [((2, 8), 8), ((8, 24), 8), ((2,), 2), ((24,), 24)])
def test_the_bins_nearest_to_16_um(tmp_path, sizes, um):
    write_hd(tmp_path / "P1", sizes, side_um=48)
    slide = open_folder(tmp_path).load("P1")
    assert slide.n_spots == (48 // um) ** 2
    assert slide.notes[0].startswith(f"bins of {um} um are read")


def rows(path, n):
    """A Parquet file of as many rows, all alike, in a few kB."""
    import pyarrow
    import pyarrow.parquet

    names = visium().columns
    batch = pyarrow.table(
        {name: pyarrow.array(["A" if name == "barcode" else 1] * 1_000_000).dictionary_encode() for name in names}
    )
    with pyarrow.parquet.ParquetWriter(path, batch.schema) as file:
        for _ in range(n):
            file.write_table(batch)


def test_parquet_is_bound_by_its_footer(tmp_path, monkeypatch):
    write_spaceranger(tmp_path)
    place = tmp_path / "151673/spatial"
    (place / "tissue_positions_list.csv").unlink()
    rows(place / "tissue_positions.parquet", 3)
    monkeypatch.setenv("STBENCH_MAX_ARRAYS_GB", "0.1")
    (row,) = [row for row in audit(open_folder(tmp_path)).rows if row.verdict == "FAIL" and row.check == "slide 151673"]
    assert "rows of 0.384 GB or more, where at most 0.1 GB are read" in row.detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda path: path.write_bytes(b"PAR1"),
            "tissue_positions.parquet: expected a table of spot positions, found: ",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "expected a table of spot positions, found: "),
        (
            lambda path: path.write_bytes(path.read_bytes()[:300] + b"\xff" * 300 + path.read_bytes()[600:]),
            "expected a",
        ),
        (lambda path: visium()[["barcode", "in_tissue"]].to_parquet(path), "expected the columns barcode, in_tissue"),
        (lambda path: visium([f"T{name}" for name in BARCODES]).to_parquet(path), "found none in common"),
        (lambda path: visium(BARCODES[:1] * 8).to_parquet(path), "expected every spot once"),
        (lambda path: visium().astype({"array_row": str}).replace("1", "x").to_parquet(path), "expected a number"),
    ],
)
def test_damaged_parquet(tmp_path, change, said):
    write_spaceranger(tmp_path)
    FORMS["parquet"](tmp_path / "151673")
    change(tmp_path / "151673/spatial/tissue_positions.parquet")
    rows = [row for row in audit(open_folder(tmp_path)).rows if row.check == "slide 151673"]
    assert [(row.verdict, said in row.detail, "\n" in row.detail) for row in rows] == [("FAIL", True, False)], rows


def test_parquet_with_barcodes_as_row_names(tmp_path):
    write_spaceranger(tmp_path)
    known = open_folder(tmp_path).load("151673")
    path = tmp_path / "151673/spatial/tissue_positions_list.csv"
    path.unlink()
    for name in ("barcode", None):
        table = visium().set_index("barcode").rename_axis(name)
        table.to_parquet(path.with_name("tissue_positions.parquet"))
        same_places = open_folder(tmp_path).load("151673")
        np.testing.assert_array_equal(same_places.xy, known.xy)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    write_spaceranger(tmp_path)
    FORMS["parquet"](tmp_path / "151673")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (row,) = [row for row in audit(open_folder(tmp_path)).rows if row.check == "slide 151673"]
    assert row.detail.endswith("expected pyarrow, which reads Parquet, found none; pip install 'stbench[hd]'")


@pytest.mark.real
@pytest.mark.parametrize("form", ["old_market", "renamed", "parquet"])
def test_a_real_slide_in_other_forms(real_data, tmp_path, form):
    shutil.copytree(real_data / "dlpfc/151674", tmp_path / "151674")
    known = load(tmp_path, "151674")
    FORMS[form](tmp_path / "151674")
    same(open_folder(tmp_path).load("151674"), known)
