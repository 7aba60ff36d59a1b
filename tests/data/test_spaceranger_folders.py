"""Folders of Space Ranger in other forms than the one that is read: named, and what to do works when typed."""

import gzip
import shutil
import subprocess

import pytest

from stbench.data.audit import audit
from stbench.data.opening import open_folder
from stbench.data.splits import split_by_protocol
from stbench.errors import DataError, UserError

from .layouts import write_her2st, write_hest, write_spaceranger

MATRIX = "filtered_feature_bc_matrix.h5"
POSITIONS = "spatial/tissue_positions_list.csv"


def packed_positions(place):
    with gzip.open(place / f"{POSITIONS}.gz", "wb") as file:
        file.write((place / POSITIONS).read_bytes())
    (place / POSITIONS).unlink()


def renamed_positions(place):
    (place / POSITIONS).rename(place / "spatial/GSM1_tissue_positions_list.csv")


def renamed_matrix(place):
    (place / MATRIX).rename(place / f"GSM600001_{MATRIX}")


def matrix_market(place):
    (place / MATRIX).unlink()
    (place / MATRIX.removesuffix(".h5")).mkdir()


def bins(place):
    inner = place / "outs/binned_outputs/square_008um"
    inner.mkdir(parents=True)
    for name in (MATRIX, "spatial"):
        (place / name).rename(inner / name)


def cells(place):
    inner = place / "outs/segmented_outputs"
    inner.mkdir(parents=True)
    (place / MATRIX).rename(inner / "filtered_feature_cell_matrix.h5")


def parquet(place):
    (place / POSITIONS).rename(place / "spatial/tissue_positions.parquet")


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
    packed_positions: "spot positions are packed",
    renamed_positions: "spot positions have another name",
    renamed_matrix: "its matrix has another name",
    matrix_market: f"only filtered_feature_bc_matrix/ in Matrix Market form; expected {MATRIX} of the same run",
    bins: "Visium HD with square_008um in binned_outputs; choose one",
    cells: "cells, no spots, in outs/segmented_outputs",
    parquet: "spot positions as tissue_positions.parquet: expected spatial/tissue_positions.csv",
    raw_alone: f"no {MATRIX}; found only raw_feature_bc_matrix.h5, spatial",
    deeper: f"no {MATRIX} in it, one in V2/run 1; open ",
    packed_spatial: "no spot positions: expected spatial/tissue_positions_list.csv; tar -C",
}
MENDED = (packed_positions, renamed_positions, renamed_matrix, bins, packed_spatial)


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
    command = open_folder(root).left_out["V2"].rpartition("; ")[2].removeprefix("choose one: ")
    subprocess.run(command, shell=True, check=True)
    found = open_folder(root)
    assert found.left_out == {}
    assert found.notes == ()
    assert found.ids in (("V1", "V2"), ("V1", "V2-square_008um"))
    assert all(found.load(slide_id).n_spots == 8 for slide_id in found.ids)


def test_files_of_several_slides_in_one_folder(root):
    for slide in ("V1", "V2"):
        shutil.move(root / slide / MATRIX, root / f"{slide}_{MATRIX}")
        shutil.rmtree(root / slide)
    found = open_folder(root)
    assert list(found.left_out) == ["V1", "V2"]
    assert found.left_out["V1"].startswith("its files have no folder of their own; mkdir ")
    for reason in found.left_out.values():
        subprocess.run(reason.partition("; ")[2], shell=True, check=True)
    assert open_folder(root).left_out["V1"].startswith("no spot positions")


def test_a_folder_of_nothing_but_other_forms_says_so(root):
    for slide in ("V1", "V2"):
        renamed_matrix(root / slide)
    found = open_folder(root)
    assert (found.refs, list(found.left_out)) == ((), ["V1", "V2"])


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
