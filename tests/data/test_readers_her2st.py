"""The layout of almaan/her2st."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stbench.catalogue import SlideEntry, find_dataset
from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile
from stbench.data.opening import open_cohort, open_folder
from stbench.data.readers import READERS
from stbench.data.remembered import remembering
from stbench.data.rendering import PaintedFile
from stbench.errors import DataError
from stbench.reporting import SILENT

from .layouts import ARRAY, GENES, SIZE, counts, picture, truncate, write_her2st, write_spots

ENTRIES = [
    SlideEntry(id="SPA2", section="B1", patient="patient_b", n_spots=6),
    SlideEntry(id="SPA1", section="A1", patient="patient_a", n_spots=6),
    SlideEntry(id="SPA9", section="C9", patient="patient_c", n_spots=6),
]


def load(root, section="A1", **options):
    return open_folder(root, **options).load(section)


def test_a_slide(tmp_path):
    matrix = write_her2st(tmp_path)
    slide = load(tmp_path)
    np.testing.assert_array_equal(slide.counts.toarray(), matrix)
    assert (slide.counts.format, slide.counts.dtype) == ("csr", np.int32)
    assert slide.spot_ids == [f"{x}x{y}" for x, y in ARRAY]
    assert slide.genes == GENES
    np.testing.assert_array_equal(slide.total_counts, matrix.sum(axis=1))
    np.testing.assert_allclose(slide.xy, (np.array(ARRAY) + 0.1 - 1) * 20, atol=0.01)
    assert slide.xy.dtype == np.float32
    np.testing.assert_array_equal(slide.array_xy, ARRAY)
    assert (slide.id, slide.patient, slide.um_per_px, slide.notes) == ("A1", "A", 200 / 20, ())
    assert slide.image.size() == SIZE


def test_rows_join_on_the_key_and_not_by_order(tmp_path):
    matrix = write_her2st(tmp_path)
    write_spots(tmp_path, array=ARRAY[::-1])
    slide = load(tmp_path)
    np.testing.assert_array_equal(slide.counts.toarray(), matrix)
    np.testing.assert_array_equal(slide.array_xy, ARRAY)


def test_spots_of_one_file_only_are_dropped_with_a_note(tmp_path):
    matrix = write_her2st(tmp_path)
    write_spots(tmp_path, array=[*ARRAY[1:], (9, 9), (8, 8)])
    slide = load(tmp_path)
    np.testing.assert_array_equal(slide.counts.toarray(), matrix[1:])
    assert slide.notes == ("1 spot dropped: no position (2x5)", "2 spots dropped: no counts (9x9, 8x8)")


def test_spots_that_were_not_selected_are_left_out(tmp_path):
    write_her2st(tmp_path)
    write_spots(tmp_path, selected=[1, 1, 0, 1, 1, 1])
    slide = load(tmp_path)
    assert slide.spot_ids == [f"{x}x{y}" for i, (x, y) in enumerate(ARRAY) if i != 2]
    assert "1 spots left out that the study did not select" in slide.notes


def test_files_without_a_common_spot(tmp_path):
    write_her2st(tmp_path)
    write_spots(tmp_path, array=[(x + 20, y) for x, y in ARRAY])
    with pytest.raises(
        DataError, match=r"A1\.tsv\.gz: expected spots of .*A1_selection\.tsv \(22x5.*found none in common"
    ):
        load(tmp_path)


def test_zero_depth_spots_survive(tmp_path):
    matrix = counts()
    matrix[2] = 0
    write_her2st(tmp_path, matrix=matrix)
    assert load(tmp_path).total_counts[2] == 0


@pytest.mark.parametrize(
    ("value", "found"),
    [(-1, "found -1"), (0.5, "found 0.5"), ("", "found nan"), ("x", "found 'x'"), (3e9, "found 3000000000")],
)
def test_counts_that_are_no_counts(tmp_path, value, found):
    matrix = counts().astype(object)
    matrix[4, 2] = value
    write_her2st(tmp_path, matrix=matrix)
    with pytest.raises(
        DataError, match=rf"A1\.tsv\.gz: expected raw counts .*{found}.* at spot 4x5, gene ERBB2"
    ) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_counts_with_a_point_are_counts(tmp_path):
    write_her2st(tmp_path, matrix=counts().astype(float))
    np.testing.assert_array_equal(load(tmp_path).counts.toarray(), counts())


def test_repeated_genes_are_added_up(tmp_path):
    matrix = write_her2st(tmp_path, genes=["ACTB", "GAPDH", "ACTB", "KRT19"])
    slide = load(tmp_path)
    assert slide.genes == ["ACTB", "GAPDH", "KRT19"]
    np.testing.assert_array_equal(slide.counts.toarray()[:, 0], matrix[:, 0] + matrix[:, 2])
    np.testing.assert_array_equal(slide.total_counts, matrix.sum(axis=1))
    assert slide.notes == ("1 columns added to another one of the same gene symbol (ACTB)",)


def test_repeated_spots(tmp_path):
    twice = [*ARRAY[:5], ARRAY[0]]
    write_her2st(tmp_path, array=twice)
    with pytest.raises(DataError, match=r"A1\.tsv\.gz: expected every spot once, found 2x5 in rows 1 and 6"):
        load(tmp_path)
    write_her2st(tmp_path)
    write_spots(tmp_path, array=twice)
    with pytest.raises(DataError, match=r"A1_selection\.tsv: expected every spot once, found 2x5"):
        load(tmp_path)


def test_truncated_counts(tmp_path):
    write_her2st(tmp_path, matrix=counts(n_spots=6, n_genes=400), genes=[f"G{i}" for i in range(400)])
    truncate(tmp_path / "data/ST-cnts/A1.tsv.gz")
    with pytest.raises(
        DataError, match=r"A1\.tsv\.gz: expected a complete table of counts, found: .*obtain the file again"
    ):
        load(tmp_path)


def test_a_header_that_names_other_genes_than_the_rows_count(tmp_path):
    write_her2st(tmp_path, genes=GENES[:3])
    with pytest.raises(DataError, match="expected 3 counts a row as the header names genes, found 4"):
        load(tmp_path)


def test_missing_columns_and_values(tmp_path):
    write_her2st(tmp_path)
    path = tmp_path / "data/ST-spotfiles/A1_selection.tsv"
    table = pd.read_csv(path, sep="\t")
    table.drop(columns=["pixel_x", "new_y"]).to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=r"A1_selection\.tsv: expected the columns .* without new_y, pixel_x"):
        load(tmp_path)
    table["pixel_x"] = table["pixel_x"].astype(object)
    table.loc[3, "pixel_x"] = "left"
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=r"A1_selection\.tsv, row 4, column pixel_x: expected a number, found 'left'"):
        load(tmp_path)


def test_spots_outside_the_picture(tmp_path):
    array = [*ARRAY[:5], (40, 6)]
    write_her2st(tmp_path, array=array)
    with pytest.raises(DataError, match=r"inside the picture of 640 x 680 px, found spot 40x6 at x 782\.0, y 102\.0"):
        load(tmp_path)


def test_picture_of_another_section(tmp_path):
    write_her2st(tmp_path)
    Image.fromarray(picture((600, 680))).save(tmp_path / "data/ST-imgs/A/A1/he.png")
    with pytest.raises(DataError, match=r"he\.png: expected 640 x 680 px as the spot file implies, found 600 x 680"):
        load(tmp_path)


def test_pixels_that_leave_the_formula_are_noted(tmp_path):
    write_her2st(tmp_path)
    new = np.array(ARRAY) + 0.1
    write_spots(tmp_path, pixel_x=19.8 * new[:, 0] + 8.2, pixel_y=20.1 * new[:, 1] - 13.1)
    slide = load(tmp_path)
    assert "do not keep to the array's formula" in slide.notes[0]
    assert slide.um_per_px == 10
    (tmp_path / "data/ST-imgs/A/A1/he.png").unlink()
    assert load(tmp_path, require_image=False).um_per_px == pytest.approx(200 / 19.8, rel=1e-3)


def rendering(root, section="A1", side=20):
    """A painted picture at a quarter of the size, tissue on ``side`` px around every spot."""
    pixels = np.zeros((170, 160, 3), dtype=np.uint8)
    drawn = picture((160, 170)) | 1
    for x, y in (np.array(ARRAY) + 0.1 - 1) * 5:
        rows, columns = (slice(max(0, round(place) - side // 2), round(place) + side // 2) for place in (y, x))
        pixels[rows, columns] = drawn[rows, columns]
    path = root / f"app/www/imgs/{section}_HE_image_dark.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_reduced_picture(tmp_path):
    write_her2st(tmp_path, image=False)
    rendering(tmp_path)
    slide = open_folder(tmp_path).load("A1")
    assert slide.image.scale == 0.25
    assert slide.image.size() == SIZE
    assert (slide.um_per_px, slide.image.um_per_px) == (10, 10)
    assert "0.2500 of the full resolution, 40.00 um a pixel, and patches are enlarged 4.0 times" in slide.notes[0]
    assert next(slide.image.patches(["1x1"], np.array([[600.0, 600.0]]), PatchSpec(px=40))).min() == 255
    write_her2st(tmp_path)
    assert isinstance(open_folder(tmp_path).load("A1").image, ImageFile)


def test_a_reduced_picture_that_does_not_lie_under_its_spots(tmp_path):
    write_her2st(tmp_path, image=False)
    write_her2st(tmp_path, "B1")
    rendering(tmp_path)
    write_spots(tmp_path, array=[(x + 8 * (x == 4), y) for x, y in ARRAY])
    cohort = open_folder(tmp_path)
    said = "picture A1_HE_image_dark.png does not lie under its spots: 2 of 6 are on its painted background"
    assert (cohort.ids, cohort.left_out) == (("B1",), {"A1": said})
    slide = load(tmp_path, require_image=False)
    assert slide.image is None
    assert slide.um_per_px == 10
    assert said in slide.notes


def test_whether_a_reduced_picture_fits_is_remembered(tmp_path, monkeypatch):
    write_her2st(tmp_path, image=False)
    write_her2st(tmp_path, "B1")
    rendering(tmp_path)
    looks, look = [], PaintedFile._on_paint
    monkeypatch.setattr(PaintedFile, "_on_paint", lambda self, xy: looks.append(xy) or look(self, xy))
    for side in (20, 20, 2, 2):
        rendering(tmp_path, side=side)
        with remembering(tmp_path / "cache", SILENT):
            assert open_folder(tmp_path).ids == (("A1", "B1") if side == 20 else ("B1",))
    assert len(looks) == 2


def test_a_damaged_reduced_picture_is_said_where_it_is_decoded(tmp_path):
    write_her2st(tmp_path, image=False)
    rendering(tmp_path)
    truncate(tmp_path / "app/www/imgs/A1_HE_image_dark.png")
    cohort = open_folder(tmp_path)
    assert cohort.ids == ("A1",)
    with pytest.raises(DataError, match=r"A1_HE_image_dark\.png: expected an intact JPEG, PNG or TIFF"):
        cohort.load("A1").image.thumbnail(10)


def test_slides_without_a_picture(tmp_path):
    write_her2st(tmp_path)
    write_her2st(tmp_path, "B1", image=False)
    cohort = open_folder(tmp_path)
    assert cohort.ids == ("A1",)
    assert cohort.left_out == {"B1": "no picture in data/ST-imgs/<patient>/<section>/"}
    slide = load(tmp_path, "B1", require_image=False)
    assert slide.image is None
    assert slide.um_per_px == 10


def test_slides_that_cannot_be_used(tmp_path):
    write_her2st(tmp_path)
    write_her2st(tmp_path, "B1")
    write_her2st(tmp_path, "C1")
    (tmp_path / "data/ST-spotfiles/B1_selection.tsv").unlink()
    Image.fromarray(picture()).save(tmp_path / "data/ST-imgs/C/C1/second.png")
    left_out = open_folder(tmp_path).left_out
    assert left_out["B1"] == "no spot file: expected data/ST-spotfiles/B1_selection.tsv"
    assert left_out["C1"] == "expected one picture in data/ST-imgs/C/C1, found 2; leave one there"


def test_the_card_gives_order_and_patients_and_names_strangers(tmp_path):
    for section in ("A1", "B1", "Z1"):
        write_her2st(tmp_path, section)
    cohort = READERS["her2st"].open("mine", tmp_path, ENTRIES, require_image=True)
    assert [(ref.id, ref.patient) for ref in cohort.refs] == [("B1", "patient_b"), ("A1", "patient_a")]
    assert cohort.left_out == {"Z1": "not among the 3 slides of the mine card"}
    assert cohort.load("B1").patient == "patient_b"


def test_listing_reads_no_counts(tmp_path):
    write_her2st(tmp_path)
    (tmp_path / "data/ST-cnts/A1.tsv.gz").write_bytes(b"damaged")
    cohort = open_folder(tmp_path)
    assert cohort.ids == ("A1",)
    with pytest.raises(DataError, match=r"A1\.tsv\.gz"):
        cohort.load("A1")


@pytest.mark.real
def test_the_study(real_data):
    """Known answers of the data's README."""
    cohort = open_cohort(find_dataset("her2st"), real_data)
    assert (cohort.layout, cohort.ids) == ("her2st", ("A1", "B4", "C2", "C3", "C4", "C5"))
    assert len(cohort.left_out) == 27
    sections = pd.read_csv(real_data / "her2st_sections.csv", index_col="section")
    for section in ("B4", "C4"):
        slide, known = cohort.load(section), sections.loc[section]
        assert (slide.n_spots, len(slide.genes)) == (known["n_spots_counts"], known["n_genes"])
        assert np.median(slide.total_counts) == known["median_umi"]
        assert slide.image.size() == (known["image_width"], known["image_height"])
        assert slide.um_per_px == pytest.approx(known["um_per_px_nominal"], abs=1e-4)
        table = pd.read_csv(real_data / f"her2st/data/ST-spotfiles/{section}_selection.tsv", sep="\t")
        table.index = table["x"].astype(str) + "x" + table["y"].astype(str)
        new = table.loc[slide.spot_ids, ["new_x", "new_y"]].to_numpy()
        np.testing.assert_allclose(slide.xy, (new - 1) * np.array(slide.image.size()) / [32, 34], atol=0.02)


@pytest.mark.real
def test_the_rendering_of_a_section(real_data):
    """A1 of the data's README: 2000 px of 6954, glass where it was black, no inset in its corner."""
    slide = open_folder(real_data / "her2st").load("A1")
    assert (slide.n_spots, slide.image.size()) == (346, (6954, 7434))
    assert slide.um_per_px == pytest.approx(0.9203, abs=1e-4)
    assert not slide.image.on_paint(slide.xy).any()
    shown = slide.image.thumbnail(2138)
    stored = np.asarray(Image.open(real_data / "her2st/app/www/imgs/A1_HE_image_dark.png"))
    assert shown[0, 0].tolist() == pytest.approx([224, 203, 224], abs=1)
    painted = (shown != stored).any(axis=2)
    assert (shown[painted] == shown[0, 0]).all()
    assert painted[~stored.any(axis=2)].all()
    assert painted.mean() == pytest.approx(0.5940 + 535 * 500 / (2000 * 2138), abs=0.003)
    (patch,) = slide.image.patches(slide.spot_ids[:1], slide.xy[:1], PatchSpec(um=112))
    assert patch.shape == (122, 122, 3)


@pytest.mark.real
def test_sections_without_a_picture(real_data):
    cohort = open_folder(real_data / "her2st", require_image=False)
    assert len(cohort.refs) == 33
    deep = cohort.load("D5")
    assert (deep.n_spots, int((deep.total_counts == 0).sum())) == (306, 1)
    odd = cohort.load("A6")
    assert any("formula" in note for note in odd.notes)
    assert odd.n_spots == 360


@pytest.mark.real
def test_spots_lie_on_tissue(real_data):
    """Under the spots the picture is darker than beside them, in this orientation and no mirrored one."""
    slide = open_folder(real_data / "her2st").load("B4")
    small = slide.image.thumbnail(500).mean(axis=2)
    x, y = (slide.xy * (small.shape[1] / slide.image.size()[0])).astype(int).T
    here = small[y, x].mean()
    others = [small[y, -x].mean(), small[-y, x].mean(), small[-y, -x].mean(), small[np.minimum(x, 499), y].mean()]
    assert here < min(others) - 5


def test_a_spot_whose_pixels_are_not_those_of_its_place_is_noted(tmp_path):
    array = [(x, y) for x in range(2, 8) for y in range(5, 10)]
    write_her2st(tmp_path, matrix=counts(n_spots=30), array=array)
    places = (np.array(array) + 0.1 - 1) * 20
    places[7] = (300, 40)
    write_spots(tmp_path, array=array, pixel_x=places[:, 0], pixel_y=places[:, 1])
    notes = open_folder(tmp_path).load("A1").notes
    assert "1 of 30 spots do not lie where the array positions of the others put them (first 3x7)" in notes[-1]
