"""Output of Space Ranger."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stbench.catalogue import find_dataset
from stbench.data.image import PatchSpec
from stbench.data.opening import open_cohort, open_folder
from stbench.errors import DataError

from .layouts import BARCODES, GENES, counts, picture, truncate, visium, write_matrix, write_spaceranger

MATRIX = counts(n_spots=8)


def load(root, slide="151673", **options):
    return open_folder(root, **options).load(slide)


def annotations(root, **columns):
    table = pd.DataFrame({"barcode": BARCODES, "layer": ["L1", "L2"] * 4, "subject": "Br1"} | columns)
    table.to_csv(root / "151673/layers.tsv", sep="\t", index=False, na_rep="NA")


def test_a_slide(tmp_path):
    write_spaceranger(tmp_path)
    slide = load(tmp_path)
    np.testing.assert_array_equal(slide.counts.toarray(), MATRIX)
    assert (slide.counts.format, slide.counts.dtype) == ("csr", np.int32)
    assert (slide.spot_ids, slide.genes) == (BARCODES, GENES)
    assert list(slide.adata.var["gene_ids"]) == [f"ENSG{i}" for i in range(4)]
    known = visium()
    np.testing.assert_allclose(slide.xy, known[["pxl_col_in_fullres", "pxl_row_in_fullres"]], rtol=1e-6)
    np.testing.assert_array_equal(slide.array_xy, known[["array_col", "array_row"]])
    np.testing.assert_array_equal(slide.total_counts, MATRIX.sum(axis=1))
    assert (slide.patient, slide.notes) == (None, ())


def test_pixel_size_comes_from_the_pitch_and_not_from_the_spot_diameter(tmp_path):
    write_spaceranger(tmp_path)
    assert load(tmp_path).um_per_px == pytest.approx(2.0)


def test_best_picture_with_its_scale(tmp_path):
    write_spaceranger(tmp_path)
    low = load(tmp_path).image
    assert (low.scale, low.size()) == (0.1, (600, 500))
    write_spaceranger(tmp_path, hires=True)
    slide = load(tmp_path)
    assert (slide.image.scale, slide.image.size()) == (0.5, (600, 500))
    patch = next(slide.image.patches(BARCODES[:1], slide.xy[:1], PatchSpec(um=80)))
    np.testing.assert_array_equal(patch, picture((300, 250))[40:60, 40:60])


def test_positions_with_a_header_and_in_any_order(tmp_path):
    write_spaceranger(tmp_path)
    assert load(tmp_path).orders == ()
    write_spaceranger(tmp_path, header=True, positions=visium()[::-1])
    slide = load(tmp_path)
    assert slide.orders == ("the table of positions",)
    assert slide.spot_ids == BARCODES
    np.testing.assert_array_equal(slide.array_xy, visium()[["array_col", "array_row"]])


def test_spots_without_position_or_tissue_are_dropped(tmp_path):
    positions = visium()
    positions.loc[3, "in_tissue"] = 0
    more = visium(["TTTT-1"])
    write_spaceranger(tmp_path, positions=pd.concat([positions[1:], more]))
    slide = load(tmp_path)
    assert slide.spot_ids == [BARCODES[i] for i in (1, 2, 4, 5, 6, 7)]
    np.testing.assert_array_equal(slide.counts.toarray(), MATRIX[[1, 2, 4, 5, 6, 7]])
    assert slide.notes == (
        f"1 spot dropped: no position ({BARCODES[0]})",
        "1 spots outside the tissue left out",
    )


def test_no_common_spot(tmp_path):
    write_spaceranger(tmp_path, positions=visium([f"T{barcode}" for barcode in BARCODES]))
    with pytest.raises(DataError, match=r"matrix\.h5: expected spots of .*positions_list\.csv .*found none in common"):
        load(tmp_path)


def test_a_symbol_with_two_ids(tmp_path):
    write_spaceranger(tmp_path, genes=["ACTB", "TBCE", "KRT19", "TBCE"])
    slide = load(tmp_path)
    assert slide.genes == ["ACTB", "TBCE", "KRT19"]
    assert list(slide.adata.var["gene_ids"]) == ["ENSG0", "ENSG1;ENSG3", "ENSG2"]
    np.testing.assert_array_equal(slide.counts.toarray()[:, 1], MATRIX[:, 1] + MATRIX[:, 3])


def test_other_features_than_genes_are_left_out(tmp_path):
    write_spaceranger(tmp_path)
    kinds = ["Gene Expression", "Antibody Capture", "Gene Expression", "Gene Expression"]
    write_matrix(tmp_path / "151673/filtered_feature_bc_matrix.h5", MATRIX, kinds=kinds)
    slide = load(tmp_path)
    assert slide.genes == [GENES[i] for i in (0, 2, 3)]
    np.testing.assert_array_equal(slide.counts.toarray(), MATRIX[:, [0, 2, 3]])
    assert slide.notes == ("1 features that are no genes left out (Antibody Capture)",)


def test_annotations(tmp_path):
    write_spaceranger(tmp_path)
    layer = ["L1", None, "WM", *["L2"] * 5]
    annotations(tmp_path, layer=layer, sum_umi_all_genes=MATRIX.sum(axis=1) * 3)
    slide = load(tmp_path)
    assert slide.patient == "Br1"
    np.testing.assert_array_equal(slide.total_counts, MATRIX.sum(axis=1) * 3)
    assert slide.adata.obs["layer"].isna().tolist() == [False, True, *[False] * 6]
    assert slide.adata.obs["layer"].iloc[2] == "WM"


def test_annotations_are_joined_on_the_barcode(tmp_path):
    write_spaceranger(tmp_path)
    annotations(tmp_path, sum_umi_all_genes=MATRIX.sum(axis=1) + np.arange(8))
    table = pd.read_csv(tmp_path / "151673/layers.tsv", sep="\t")
    table[::-1].to_csv(tmp_path / "151673/layers.tsv", sep="\t", index=False)
    np.testing.assert_array_equal(load(tmp_path).total_counts, MATRIX.sum(axis=1) + np.arange(8))
    table[1:].drop(columns="sum_umi_all_genes").to_csv(tmp_path / "151673/layers.tsv", sep="\t", index=False)
    slide = load(tmp_path)
    assert slide.notes == ("1 spots without a row in layers.tsv",)
    np.testing.assert_array_equal(slide.total_counts, MATRIX.sum(axis=1))
    table[1:].to_csv(tmp_path / "151673/layers.tsv", sep="\t", index=False)
    with pytest.raises(
        DataError, match=rf"layers\.tsv: expected sum_umi_all_genes of every spot, found none of {BARCODES[0]}"
    ):
        load(tmp_path)


def test_totals_below_the_counts(tmp_path):
    write_spaceranger(tmp_path)
    annotations(tmp_path, sum_umi_all_genes=1)
    with pytest.raises(DataError, match=r"layers\.tsv: expected sum_umi_all_genes of at least the \d+ UMI .*found 1"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_truncated_matrix(tmp_path, share):
    write_spaceranger(tmp_path)
    truncate(tmp_path / "151673/filtered_feature_bc_matrix.h5", share)
    with pytest.raises(DataError, match=r"matrix\.h5: expected a 10x matrix in HDF5, found: .*truncated"):
        load(tmp_path)


@pytest.mark.parametrize("value", [-2, 0.5, np.nan])
def test_counts_that_are_no_counts(tmp_path, value):
    matrix = MATRIX.astype(float)
    matrix[5, 1] = value
    write_spaceranger(tmp_path, matrix=matrix)
    with pytest.raises(DataError, match=rf"matrix\.h5: expected raw counts .*found {value}.*{BARCODES[5]}, gene GAPDH"):
        load(tmp_path)


def test_repeated_barcodes(tmp_path):
    write_spaceranger(tmp_path)
    path = tmp_path / "151673/filtered_feature_bc_matrix.h5"
    write_matrix(path, MATRIX, barcodes=[*BARCODES[:7], BARCODES[0]])
    with pytest.raises(DataError, match=rf"expected every spot once, found {BARCODES[0]} in rows 1 and 8"):
        load(tmp_path)


def test_spots_outside_the_picture(tmp_path):
    positions = visium()
    positions.loc[7, "pxl_col_in_fullres"] = 640
    write_spaceranger(tmp_path, positions=positions)
    with pytest.raises(DataError, match=rf"inside the picture of 600 x 500 px, found spot {BARCODES[7]} at x 640\.0"):
        load(tmp_path)


def test_positions_that_are_none(tmp_path):
    write_spaceranger(tmp_path, positions=visium().drop(columns="array_row"), header=True)
    with pytest.raises(DataError, match=r"tissue_positions\.csv: expected the columns .* without array_row"):
        load(tmp_path)
    positions = visium().astype({"array_col": object})
    positions.loc[2, "array_col"] = "x"
    write_spaceranger(tmp_path, positions=positions, header=True)
    with pytest.raises(
        DataError, match=r"tissue_positions\.csv, row 3, column array_col: expected a number, found 'x'"
    ):
        load(tmp_path)


def test_truncated_picture(tmp_path):
    write_spaceranger(tmp_path)
    truncate(tmp_path / "151673/spatial/tissue_lowres_image.png")
    slide = load(tmp_path)
    with pytest.raises(DataError, match=r"tissue_lowres_image\.png: expected an intact"):
        next(slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(px=10)))


def test_scale_factors_that_are_missing(tmp_path):
    write_spaceranger(tmp_path)
    path = tmp_path / "151673/spatial/scalefactors_json.json"
    path.write_text(json.dumps({"tissue_hires_scalef": 0.5}))
    with pytest.raises(DataError, match=r"scalefactors_json\.json: expected a number under tissue_lowres_scalef"):
        load(tmp_path)
    path.unlink()
    assert "no picture" in open_folder(tmp_path).left_out["151673"]
    assert load(tmp_path, require_image=False).image is None


def scale_factors(root, **said):
    path = root / "151673/spatial/scalefactors_json.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))


def many(hexagonal=True):
    """Positions of 64 spots, 2 um a pixel, or bins of 8 um at 0.25 um a pixel."""
    table = pd.DataFrame({"barcode": [f"AAAC{i:012d}-1" for i in range(64)], "in_tissue": 1})
    table["array_row"], table["array_col"] = np.arange(64) // 8, np.arange(64) % 8
    if hexagonal:
        table["array_col"] = 2 * table["array_col"] + table["array_row"] % 2
    steps = (25 * 3**0.5, 25) if hexagonal else (32, 32)
    table["pxl_row_in_fullres"] = 100 + table["array_row"] * steps[0]
    table["pxl_col_in_fullres"] = 100 + table["array_col"] * steps[1]
    return table


def write_many(root, positions):
    write_spaceranger(root, positions=positions)
    matrix = counts(n_spots=len(positions))
    write_matrix(root / "151673/filtered_feature_bc_matrix.h5", matrix, barcodes=list(positions["barcode"]))


@pytest.mark.parametrize(("row", "place"), [(0, (77, 3)), (63, (5, 100)), (30, (0, 1)), (12, (1, 10))])
def test_one_wrong_array_position_does_not_move_the_pixel_size(tmp_path, row, place):
    positions = many()
    positions.loc[row, ["array_row", "array_col"]] = place
    write_many(tmp_path, positions)
    slide = load(tmp_path)
    assert slide.um_per_px == pytest.approx(2.0, rel=1e-9)
    assert f"1 of 64 spots do not lie where the array positions of the others put them (first AAAC{row:012d}-1)" in str(
        slide.notes
    )


def test_positions_that_do_not_follow_the_array_are_refused(tmp_path):
    positions = many()
    places = ["pxl_row_in_fullres", "pxl_col_in_fullres"]
    positions[places] = positions[places].sample(frac=1, random_state=0).to_numpy()
    write_many(tmp_path, positions)
    with pytest.raises(
        DataError, match=r"list\.csv: expected pixel positions that follow the array positions, found \d"
    ):
        load(tmp_path)


def test_bins_take_the_pixel_size_that_the_scale_factors_say(tmp_path):
    write_many(tmp_path, many(hexagonal=False))
    scale_factors(tmp_path, microns_per_pixel=0.25, bin_size_um=8.0, spot_diameter_fullres=32.0)
    slide = load(tmp_path)
    assert slide.um_per_px == slide.image.um_per_px == 0.25
    assert slide.notes == ()
    scale_factors(tmp_path, microns_per_pixel=0.5, spot_diameter_fullres=16.0)
    (line,) = load(tmp_path).notes
    assert "says 0.5 um/px, the positions on the bins of 8 um say 0.25: 0.5 is used" in line
    scale_factors(tmp_path, microns_per_pixel=0.25, spot_diameter_fullres=64.0)
    assert "64 px are 16 um at 0.25 um/px, expected the 8 um of a bin" in load(tmp_path).notes[0]


def test_bins_without_a_pixel_size(tmp_path):
    bins = many(hexagonal=False)
    write_many(tmp_path, bins)
    slide = load(tmp_path)
    assert slide.um_per_px is None
    assert "columns lie 32 px and rows 32 px apart, expected 50 to 86.6 as those of Visium; write" in slide.notes[0]
    scale_factors(tmp_path, bin_size_um=16.0, spot_diameter_fullres=32.0)
    assert load(tmp_path).um_per_px == pytest.approx(0.5)
    named = bins.assign(barcode=[f"s_008um_{i:05d}_00000-1" for i in range(64)])
    write_many(tmp_path, named)
    assert load(tmp_path).um_per_px == pytest.approx(0.25)
    scale_factors(tmp_path, microns_per_pixel="wide")
    with pytest.raises(DataError, match=r"microns_per_pixel: expected a positive number, found 'wide'"):
        load(tmp_path)


def test_scale_factors_of_another_picture(tmp_path):
    write_many(tmp_path, many())
    scale_factors(tmp_path, spot_diameter_fullres=8.0)
    assert "8 px are 16 um at 2 um/px, expected the 55 um of a Visium spot" in load(tmp_path).notes[0]
    scale_factors(tmp_path, spot_diameter_fullres=30.0, microns_per_pixel=1.0)
    slide = load(tmp_path)
    assert slide.um_per_px == pytest.approx(2.0)
    assert "says 1 um/px, the positions on the array of Visium say 2: 2 is used" in slide.notes[0]


def test_pictures_that_contradict_their_scale_factors(tmp_path):
    write_spaceranger(tmp_path, hires=True)
    scale_factors(tmp_path, tissue_hires_scalef=0.25)
    (line,) = load(tmp_path).notes
    assert "tissue_hires_image.png is of a picture of 1200 x 1000 px, tissue_lowres_image.png of 600 x 500 px" in line


def test_rows_and_columns_that_are_exchanged(tmp_path):
    positions = visium()
    exchanged = {"pxl_row_in_fullres": "pxl_col_in_fullres", "pxl_col_in_fullres": "pxl_row_in_fullres"}
    write_spaceranger(tmp_path, positions=positions.rename(columns=exchanged), header=True)
    slide = load(tmp_path)
    assert slide.um_per_px == pytest.approx(2.0)
    assert "x and y of the positions may be exchanged" in slide.notes[0]


def test_two_sections_in_one_folder_are_refused(tmp_path):
    twice = pd.concat([many()[:32], many()[:32].assign(barcode=[f"AAAC{i:012d}-2" for i in range(32)])])
    write_many(tmp_path, twice)
    with pytest.raises(DataError, match=r"expected one section, .*found 32 of 64 spots at the place of another"):
        load(tmp_path)


def test_a_picture_of_full_resolution_beside_the_matrix_is_used(tmp_path):
    write_spaceranger(tmp_path)
    assert (
        load(tmp_path).image.finer == f"put the microscope's picture of about 600 x 500 px into {tmp_path / '151673'}"
    )
    Image.fromarray(picture((120, 100))).save(tmp_path / "151673/other.png")
    slide = load(tmp_path)
    assert slide.image.scale == 0.1
    assert "other.png beside the matrix is not used: 120 x 100 px, expected about 600 x 500" in slide.notes[0]
    (tmp_path / "151673/other.png").unlink()
    Image.fromarray(picture((604, 497))).save(tmp_path / "151673/full.png")
    slide = load(tmp_path)
    assert (slide.image.path.name, slide.image.scale, slide.image.um_per_px) == ("full.png", 1.0, slide.um_per_px)
    assert slide.notes == ("picture full.png of full resolution is used",)
    patch = next(slide.image.patches(BARCODES[:1], slide.xy[:1], PatchSpec(um=80)))
    np.testing.assert_array_equal(patch, picture((604, 497))[80:120, 80:120])
    Image.fromarray(picture((600, 500))).save(tmp_path / "151673/second.png")
    slide = load(tmp_path)
    assert (slide.image.scale, "2 pictures of full resolution" in slide.notes[0]) == (0.1, True)


def test_folders(tmp_path):
    write_spaceranger(tmp_path / "many", "s1")
    write_spaceranger(tmp_path / "many", "s2/outs")
    (tmp_path / "many/notes").mkdir()
    write_spaceranger(tmp_path, "single")
    assert open_folder(tmp_path / "many").ids == ("s1", "s2")
    assert open_folder(tmp_path / "single").ids == ("single",)
    (tmp_path / "many/s1/spatial/tissue_positions_list.csv").unlink()
    assert "tissue_positions_list.csv" in open_folder(tmp_path / "many").left_out["s1"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("slide_id", "n_spots", "n_genes", "n_labelled", "median"),
    [("151673", 3639, 7319, 3611, 1297), ("151674", 3673, 5000, 3635, 1496), ("151675", 3592, 7319, 3566, 945)],
)
def test_dlpfc(real_data, slide_id, n_spots, n_genes, n_labelled, median):
    """Known answers of the data's README."""
    cohort = open_cohort(find_dataset("dlpfc"), real_data)
    assert (cohort.layout, cohort.ids) == ("spaceranger", ("151673", "151674", "151675"))
    slide = cohort.load(slide_id)
    assert (slide.n_spots, len(slide.genes), slide.patient) == (n_spots, n_genes, "Br8100")
    assert int(slide.adata.obs["layer"].notna().sum()) == n_labelled
    assert np.median(np.asarray(slide.counts.sum(axis=1))) == median
    share = slide.counts.sum() / slide.total_counts.sum()
    assert 0.27 < share < 0.33
    assert slide.um_per_px == pytest.approx(0.7245, abs=5e-4)
    assert slide.image.scale == pytest.approx(0.045, abs=1e-4)
    assert 6.1 < 100 / slide.um_per_px * slide.image.scale < 6.3
