"""Legacy Spatial Transcriptomics in one flat folder."""

import gzip
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from stbench.data.audit import audit
from stbench.data.image import PatchSpec
from stbench.data.opening import open_folder
from stbench.data.panel import candidate_genes
from stbench.errors import DataError

from .layouts import IDS, STAGGERED, counts, truncate, write_genes, write_st

UNDER = [f"{x}x{y}" for x, y in STAGGERED[2:]]
PITCH_PX = 50.0  # steps of 30 and 40 px, neighbours lie across


def load(root, section="S1", **options):
    return open_folder(root, **options).load(section)


def spot_table(root, section="S1"):
    path = root / f"alignment_table_{section}.tsv.gz"
    return path, pd.read_csv(path, sep="\t")


def test_a_section(tmp_path):
    matrix = write_st(tmp_path)
    cohort = open_folder(tmp_path)
    slide = cohort.load("S1")
    assert (cohort.layout, cohort.ids, cohort.notes) == ("st", ("S1",), ())
    np.testing.assert_array_equal(slide.counts.toarray(), matrix)
    assert slide.spot_ids == UNDER
    assert slide.genes == ["Actb", "mt-Co1", "Gapdh", "Krt19"]
    assert list(slide.adata.var["gene_ids"]) == IDS
    np.testing.assert_array_equal(slide.total_counts, matrix.sum(axis=1))
    np.testing.assert_array_equal(slide.array_xy, STAGGERED[2:])
    np.testing.assert_array_equal(slide.xy, np.array(STAGGERED[2:]) * (30, 40))
    assert (slide.patient, slide.um_per_px, slide.image.size()) == (None, None, (300, 350))
    assert "2 spots outside the tissue left out" in slide.notes
    assert "mt-Co1" not in candidate_genes(slide.genes)


def test_the_pixel_size_is_unknown_until_the_pitch_is_said(tmp_path):
    write_st(tmp_path)
    slide = load(tmp_path)
    assert slide.um_per_px is None
    assert slide.notes[-1].startswith("neighbouring spots lie 50 px apart; ")
    assert next(slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(px=8))).shape == (8, 8, 3)
    with pytest.raises(DataError, match="expected a pixel size to cut patches of 112"):
        slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(um=112))
    (tmp_path / "scale.json").write_text(json.dumps({"pitch_um": 150}))
    slide = load(tmp_path)
    assert slide.um_per_px == slide.image.um_per_px == pytest.approx(150 / PITCH_PX)
    assert not any("apart" in note for note in slide.notes)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('{"pitch_um": -1}', "expected a positive number, found -1"),
        ('{"pitch_um": true}', "expected a positive number, found True"),
        ('{"pitch": 150}', "pitch_um.*found pitch; correct it"),
        ("[150]", "expected one JSON object, found list"),
        ("{", "expected scale factors as JSON"),
    ],
)
def test_a_scale_that_is_none(tmp_path, said, found):
    write_st(tmp_path)
    (tmp_path / "scale.json").write_text(said)
    with pytest.raises(DataError, match=rf"scale\.json.*{found}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("names", "section"),
    [
        (("S1.tsv", "S1_selection.tsv", "S1.png"), "S1"),
        (("P2_rep1_stdata.tsv.gz", "spot_data-selection-P2_rep1.tsv.gz", "P2_rep1.tif"), "P2_rep1"),
        (
            ("GSM42_P2_ST_rep1_stdata.tsv.gz", "GSM42_spot_data-selection-P2_ST_rep1.tsv.gz", "GSM42_P2_ST_rep1.jpg"),
            "GSM42_P2_ST_rep1",
        ),
        (("BC23209_C1.tsv.gz", "BC23209_C1.spots.txt", "BC23209_C1.jpg"), "BC23209_C1"),
    ],
)
def test_names_of_other_collections(tmp_path, names, section):
    matrix = write_st(tmp_path, names=names)
    slide = load(tmp_path, section)
    assert (slide.id, slide.patient) == (section, None)
    np.testing.assert_array_equal(slide.counts.toarray(), matrix)


def test_spots_named_in_the_first_column(tmp_path):
    """As He et al. 2020 keep theirs: pixels in X and Y of the spots under tissue alone, BT for BC."""
    matrix = write_st(tmp_path, names=("BC23209_C1_stdata.tsv.gz", "BC23209_C1.spots.txt", "HE_BT23209_C1.jpg"))
    table = pd.read_csv(tmp_path / "BC23209_C1.spots.txt", sep="\t")[2:]
    named = pd.DataFrame({"X": table["pixel_x"].to_numpy(), "Y": table["pixel_y"].to_numpy()}, index=UNDER)
    named.to_csv(tmp_path / "spots_BT23209_C1.csv.gz")
    (tmp_path / "BC23209_C1.spots.txt").unlink()
    with gzip.open(tmp_path / "BC23209_C1_Coords.tsv.gz", "wt") as file:
        file.write("no table of this layout\r")
    cohort = open_folder(tmp_path)
    slide = cohort.load("BC23209_C1")
    assert (cohort.ids, cohort.notes) == (("BC23209_C1",), ())
    np.testing.assert_array_equal(slide.counts.toarray(), matrix)
    np.testing.assert_array_equal(slide.xy, named.to_numpy())
    np.testing.assert_array_equal(slide.array_xy, STAGGERED[2:])
    assert slide.notes[:2] == (
        "2 spots dropped: no position (2x2, 2x4)",
        "no column selected in spots_BT23209_C1.csv.gz: all its spots are taken to lie under tissue",
    )


def test_genes_by_spots_and_tables_of_r(tmp_path):
    """R leaves out the first cell of the header and quotes names."""
    matrix = write_st(tmp_path)
    table = pd.read_csv(tmp_path / "S1.tsv.gz", sep="\t", index_col=0)
    table.T.to_csv(tmp_path / "S1.tsv.gz", sep="\t")
    np.testing.assert_array_equal(load(tmp_path).counts.toarray(), matrix)
    lines = ["\t".join(f'"{gene}"' for gene in table.columns)]
    lines += ["\t".join([f'"{spot}"', *map(str, row)]) for spot, row in zip(table.index, table.to_numpy(), strict=True)]
    (tmp_path / "S1.tsv").write_text("\n".join(lines) + "\n")
    np.testing.assert_array_equal(load(tmp_path).counts.toarray(), matrix)
    assert load(tmp_path).genes == ["Actb", "mt-Co1", "Gapdh", "Krt19"]


def test_padded_names_of_spots(tmp_path):
    matrix = write_st(tmp_path)
    table = pd.read_csv(tmp_path / "S1.tsv.gz", sep="\t", index_col=0)
    table.index = [f"{x:03d}x{y:03d}" for x, y in STAGGERED]
    table.to_csv(tmp_path / "S1.tsv.gz", sep="\t")
    slide = load(tmp_path)
    assert slide.spot_ids == UNDER
    np.testing.assert_array_equal(slide.counts.toarray(), matrix)


def test_symbols_join_without_the_version_of_an_id(tmp_path):
    matrix = write_st(tmp_path)
    write_genes(tmp_path / "genes.tsv", [IDS[0], IDS[1].split(".")[0], IDS[2].replace(".3", ".9"), IDS[3]])
    assert load(tmp_path).genes == ["Actb", "mt-Co1", "Gapdh", "Krt19"]
    write_genes(tmp_path / "genes.tsv", IDS, ["Actb", "", "Actb", IDS[3]])
    slide = load(tmp_path)
    assert slide.genes == ["Actb", IDS[1], IDS[3]]
    np.testing.assert_array_equal(slide.counts.toarray()[:, 0], matrix[:, 0] + matrix[:, 2])
    assert list(slide.adata.var["gene_ids"]) == [f"{IDS[0]};{IDS[2]}", IDS[1], IDS[3]]
    (tmp_path / "genes.tsv").unlink()
    assert load(tmp_path).genes == IDS


def test_a_table_of_genes_that_contradicts_itself(tmp_path):
    write_st(tmp_path)
    write_genes(tmp_path / "genes.tsv", [IDS[0], IDS[0]])
    with pytest.raises(DataError, match=r"genes\.tsv, row 2: expected one symbol of every id, found Actb and mt-Co1"):
        load(tmp_path)
    (tmp_path / "genes.tsv").write_text("id\tsymbol\n")
    with pytest.raises(DataError, match=r"genes\.tsv: expected a column gene_name or symbol beside gene_id"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("selected", 2, "row 3, column selected: expected 1 under tissue and 0 elsewhere, found 2"),
        ("selected", "x", "row 3, column selected: expected a number, found 'x'"),
        ("pixel_x", "x", "row 3, column pixel_x: expected a number, found 'x'"),
        ("pixel_x", 4000, "expected spots inside the picture of 300 x 350 px, found spot 2x6"),
        ("x", 4, "expected every spot once, found 4x6"),
    ],
)
def test_values_of_the_table_of_spots(tmp_path, column, value, found):
    write_st(tmp_path)
    path, table = spot_table(tmp_path)
    table[column] = table[column].astype(object)
    table.loc[2, column] = value
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match=f"alignment_table_S1.*{found}"):
        load(tmp_path)


def test_nothing_selected_and_nothing_said(tmp_path):
    write_st(tmp_path)
    path, table = spot_table(tmp_path)
    table.drop(columns="selected").to_csv(path, sep="\t", index=False)
    slide = load(tmp_path)
    assert slide.n_spots == len(STAGGERED)
    assert any("no column selected" in note for note in slide.notes)
    table["selected"] = 0
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(DataError, match="expected spots with selected = 1, found none"):
        load(tmp_path)


def test_sections_that_cannot_be_used(tmp_path):
    for i, section in enumerate(("S1", "S2", "S3", "S4", "S5")):
        write_st(tmp_path, section, seed=i)
    (tmp_path / "alignment_table_S2.tsv.gz").rename(tmp_path / "old")
    shutil.copy(tmp_path / "S3.jpg", tmp_path / "HE_S3.jpg")
    (tmp_path / "S4.jpg").rename(tmp_path / "S4.jpg.gz")
    (tmp_path / "S5.jpg").unlink()
    (tmp_path / "S6.jpg").write_bytes(b"")
    (tmp_path / "notes.tsv").write_text("any\n")
    cohort = open_folder(tmp_path)
    assert cohort.ids == ("S1",)
    assert cohort.left_out == {
        "S2": "no table of spots: expected alignment_table_S2.tsv or S2_selection.tsv",
        "S3": "expected one picture, found HE_S3.jpg, S3.jpg; leave one there",
        "S4": f"packed picture: type gunzip {tmp_path / 'S4.jpg.gz'}",
        "S5": "no picture: expected S5.jpg, .png or .tif",
    }
    assert cohort.notes[0].endswith(": S6.jpg, notes.tsv")
    assert load(tmp_path, "S5", require_image=False).image is None


def test_damage_of_one_section_leaves_the_others(tmp_path):
    for i, section in enumerate(("S1", "S2", "S3")):
        write_st(tmp_path, section, seed=i, matrix=counts(i, len(STAGGERED), 4) * 1000)
    truncate(tmp_path / "S2.tsv.gz")
    rows = {row.check: row for row in audit(open_folder(tmp_path, require_image=False)).rows}
    assert "S2.tsv.gz: expected a complete table of counts" in rows["slide S2"].detail
    assert rows["spots"].detail == str(2 * len(UNDER))


def test_a_spot_beside_its_place_on_a_staggered_array(tmp_path):
    write_st(tmp_path)
    path, table = spot_table(tmp_path)
    table.loc[9, "pixel_x"] += 60
    table.to_csv(path, sep="\t", index=False)
    assert any("1 of 16 spots do not lie where the array positions" in note for note in load(tmp_path).notes)


def test_pixels_of_a_smaller_picture_are_noted(tmp_path):
    write_st(tmp_path)
    assert not any("reduced" in note for note in load(tmp_path).notes)
    path, table = spot_table(tmp_path)
    table[["pixel_x", "pixel_y"]] /= 2
    table.to_csv(path, sep="\t", index=False)
    (note,) = [note for note in load(tmp_path).notes if "reduced" in note]
    assert note.startswith("all spots lie in the first 105 x 140 px of a picture of 300 x 350: ")


@pytest.mark.real
def test_the_olfactory_bulb(real_data):
    """Known answers of the data's README."""
    cohort = open_folder(real_data / "mob_st2k")
    assert (cohort.layout, cohort.ids) == ("st", ("MOB1", "MOB2", "MOB3", "MOB4"))
    slides = [cohort.load(id_) for id_ in cohort.ids]
    assert [slide.n_spots for slide in slides] == [379, 407, 438, 403]
    assert [np.median(slide.total_counts) for slide in slides] == [2268, 2424, 3344, 3050]
    assert all(slide.patient is None and slide.um_per_px is None for slide in slides)
    assert {"Arfgef1", "Kcnb2", "Tceb1"} <= set(slides[0].genes)
    assert all((slide.array_xy.sum(axis=1) % 2 == 0).all() for slide in slides)
    small = slides[0].image.thumbnail(1905).mean(axis=2)
    x, y = slides[0].xy.astype(int).T
    assert small[y, x].mean() < min(small[x, y].mean(), small[y, -x].mean(), small[-y, x].mean()) - 5
