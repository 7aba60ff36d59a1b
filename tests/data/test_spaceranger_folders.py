"""Folders of Space Ranger in forms that are not read: named, and what to do works when typed."""

import gzip
import shutil
import subprocess

import pytest

from stbench.data.audit import audit
from stbench.data.opening import open_folder
from stbench.data.splits import split_by_protocol
from stbench.errors import DataError, UserError

from .layouts import write_her2st, write_hest, write_spaceranger
from .ranger_forms import MARKET, MATRIX, flat, market, renamed

POSITIONS = "spatial/tissue_positions_list.csv"


def packed_matrix(place):
    with gzip.open(place / f"{MATRIX}.gz", "wb") as file:
        file.write((place / MATRIX).read_bytes())
    (place / MATRIX).unlink()


def packed_market(place):
    """The archive of a folder, as GEO keeps it."""
    market(place)
    subprocess.run(["tar", "-C", place, "-czf", place / f"GSM1_{MARKET}.tar.gz", MARKET], check=True)
    shutil.rmtree(place / MARKET)


def market_without_parts(place):
    market(place)
    (place / MARKET / "barcodes.tsv.gz").unlink()


def two_tables(place):
    for name in ("a", "b"):
        shutil.copy(place / POSITIONS, place / f"spatial/{name}_tissue_positions_list.csv")
    (place / POSITIONS).unlink()


def no_bins(place):
    (place / "outs/binned_outputs/square_008um").mkdir(parents=True)
    (place / MATRIX).unlink()


def cells(place):
    inner = place / "outs/segmented_outputs"
    inner.mkdir(parents=True)
    (place / MATRIX).rename(inner / "filtered_feature_cell_matrix.h5")


def raw_alone(place):
    (place / MATRIX).rename(place / "raw_feature_bc_matrix.h5")


def deeper(place):
    inner = place / "run 1/outs"
    inner.mkdir(parents=True)
    for name in (MATRIX, "spatial"):
        (place / name).rename(inner / name)


def packed_spatial(place):
    subprocess.run(["tar", "-C", place, "-czf", place / "GSM1_spatial.tar.gz", "spatial"], check=True)
    shutil.rmtree(place / "spatial")


SAID = {
    packed_matrix: "its counts are packed; gunzip -k ",
    packed_market: "its counts are packed; tar -C ",
    market_without_parts: "filtered_feature_bc_matrix/ without barcodes.tsv; obtain the folder again",
    two_tables: "no spot positions: expected spatial/tissue_positions_list.csv, found a_tissue_positions_list.csv, "
    "b_tissue_positions_list.csv; leave one there",
    no_bins: f"binned_outputs without a {MATRIX}; obtain the folder again",
    cells: "cells, no spots, in outs/segmented_outputs",
    raw_alone: f"no {MATRIX}; found only raw_feature_bc_matrix.h5, spatial",
    deeper: f"no {MATRIX} in it, one in V2/run 1; open ",
    packed_spatial: "no spot positions: expected spatial/tissue_positions_list.csv; tar -C",
}
MENDED = (packed_matrix, packed_market, packed_spatial)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "my slides"
    for slide in ("V1", "V2"):
        write_spaceranger(root, slide)
    return root


@pytest.mark.parametrize("change", SAID)
def test_a_folder_that_is_not_read_is_named_with_what_is_missing(root, change):
    change(root / "V2")
    found = open_folder(root)
    assert found.ids == ("V1",)
    assert list(found.left_out) == ["V2"]
    assert found.left_out["V2"].startswith(SAID[change])
    assert {row.check: row.verdict for row in audit(found).rows}["left out: V2"] == "FAIL"
    with pytest.raises(UserError) as error:
        split_by_protocol("slide", found.refs, 0, found.left_out)
    assert f"V2: {found.left_out['V2']}" in str(error.value)


@pytest.mark.parametrize("change", MENDED)
def test_what_the_reason_says_works_when_typed(root, change):
    change(root / "V2")
    command = open_folder(root).left_out["V2"].rpartition("; ")[2]
    subprocess.run(command, shell=True, check=True)
    found = open_folder(root)
    assert found.left_out == {}
    assert found.notes == ()
    assert found.ids == ("V1", "V2")
    assert all(found.load(slide_id).n_spots == 8 for slide_id in found.ids)


def test_positions_that_are_packed_in_one_folder_with_others(root):
    """The archives of several slides hold a folder of the same name."""
    for slide in ("V1", "V2"):
        packed_spatial(root / slide)
        (root / slide / MATRIX).rename(root / f"{slide}_{MATRIX}")
        (root / slide / "GSM1_spatial.tar.gz").rename(root / f"{slide}_spatial.tar.gz")
        (root / slide).rmdir()
    found = open_folder(root)
    assert list(found.left_out) == ["V1", "V2"]
    assert found.left_out["V1"].startswith("no spot positions: expected V1_tissue_positions_list.csv; mkdir ")
    for reason in found.left_out.values():
        subprocess.run(reason.rpartition("; ")[2], shell=True, check=True)
    found = open_folder(root)
    assert (found.ids, found.left_out) == (("V1", "V2"), {})
    assert found.load("V2").n_spots == 8


def test_a_folder_of_cells_opened_itself(root):
    cells(root / "V2")
    for place, called in ((root / "V2", "V2"), (root / "V2/outs", "outs")):
        found = open_folder(place)
        assert (found.refs, list(found.left_out)) == ((), [called])
        assert found.left_out[called].startswith("cells, no spots, in ")


def test_counts_that_are_packed_in_one_folder_with_others(root):
    for slide in ("V1", "V2"):
        packed_market(root / slide)
        (root / slide / f"GSM1_{MARKET}.tar.gz").rename(root / slide / f"{MARKET}.tar.gz")
    flat(root)
    found = open_folder(root)
    assert list(found.left_out) == ["GSM600000_V1", "GSM600001_V2"]
    for reason in found.left_out.values():
        subprocess.run(reason.rpartition("; ")[2], shell=True, check=True)
    found = open_folder(root)
    assert (found.ids, found.left_out) == (("GSM600000_V1", "GSM600001_V2"), {})
    assert found.load("GSM600001_V2").n_spots == 8


def test_positions_without_counts_are_named(root):
    flat(root)
    (root / f"GSM600001_V2_{MATRIX}").rename(root / "GSM600001_V2_raw_feature_bc_matrix.h5")
    found = open_folder(root)
    assert found.ids == ("GSM600000_V1",)
    assert found.left_out["GSM600001_V2"].startswith(f"no GSM600001_V2_{MATRIX}; found only GSM600001_V2_raw_fea")


def test_two_slides_of_one_name_are_none(root):
    shutil.copytree(root / "V2", root / "moved")
    renamed(root / "moved", "V2")
    for path in (root / "moved").iterdir():
        path.rename(root / path.name)
    (root / "moved").rmdir()
    found = open_folder(root)
    assert (found.ids, list(found.left_out)) == (("V1",), ["V2"])
    assert found.left_out["V2"].startswith("2 slides of this name, in ")


def test_folders_without_any_part_of_a_slide_are_a_note(root):
    (root / "figures").mkdir()
    (root / "figures/plot.png").touch()
    found = open_folder(root)
    assert (found.left_out, found.notes) == ({}, ("folders without a slide: figures",))
    with pytest.raises(DataError, match="in a known layout"):
        open_folder(root / "figures")


def test_parts_of_a_slide_are_no_slides(root):
    (root / "V1/analysis").mkdir()
    (root / "V1/raw_feature_bc_matrix").mkdir()
    found = open_folder(root / "V1")
    assert (found.ids, found.left_out, found.notes) == (("V1",), {}, ())


def test_linked_folders_are_called_by_their_links(root, tmp_path):
    """Two runs may each keep their slide in a folder of one name."""
    cohort = tmp_path / "linked"
    cohort.mkdir()
    for slide in ("V1", "V2"):
        (tmp_path / f"run {slide}").mkdir()
        (root / slide).rename(tmp_path / f"run {slide}/slide")
        (cohort / slide).symlink_to(tmp_path / f"run {slide}/slide")
    assert open_folder(cohort).ids == ("V1", "V2")


def test_pictures_and_spots_without_counts_are_a_note(tmp_path):
    for name in ("S1", "S2"):
        write_hest(tmp_path / "hest", name)
    (tmp_path / "hest/st/S2.h5ad").unlink()
    assert open_folder(tmp_path / "hest").notes == ("pictures without counts: S2 (expected st/S2.h5ad)",)
    for name in ("A1", "A2"):
        write_her2st(tmp_path / "study", name)
    (tmp_path / "study/data/ST-cnts/A2.tsv.gz").unlink()
    assert open_folder(tmp_path / "study").notes == ("spots without counts: A2 (expected data/ST-cnts/A2.tsv.gz)",)
