"""The pathologist's labels of HER2ST."""

import numpy as np
import pandas as pd
import pytest

from stbench.data.opening import open_folder
from stbench.errors import DataError

from .layouts import ARRAY, write_her2st

LABELS = ["fat", "undetermined", "stroma", "", "fat", "tumour"]
DOMAINS = ["fat", "", "stroma", "", "fat", "tumour"]


def write_labels(root, array=ARRAY, labels=LABELS, section="A1", **more):
    """As the study wrote them: measured positions, pixels of a mirrored rendering."""
    folder = root / "data/ST-pat/lbl"
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(np.array(array) + 0.3, columns=["x", "y"]).assign(pixel_x=1.0, pixel_y=2.0, label=labels)
    table.index = [f"{i}x{i}" for i in range(len(table))]
    table = table.rename_axis("Row.names").reset_index().assign(**more)
    table.to_csv(folder / f"{section}_labeled_coordinates.tsv", sep="\t", index=False)


def load(root):
    return open_folder(root).load("A1")


def test_labels_join_on_the_place_on_the_array(tmp_path):
    write_her2st(tmp_path)
    assert load(tmp_path).domains is None
    write_labels(tmp_path, ARRAY[::-1], LABELS[::-1])
    slide = load(tmp_path)
    assert slide.domains.tolist() == DOMAINS
    assert slide.notes == ()


def test_rows_that_are_no_spots_are_noted(tmp_path):
    write_her2st(tmp_path)
    write_labels(tmp_path, [*ARRAY[1:], (9, 9), (np.nan, np.nan)], [*LABELS[1:], "fat", "fat"])
    slide = load(tmp_path)
    assert slide.domains.tolist() == ["", *DOMAINS[1:]]
    name = "A1_labeled_coordinates.tsv"
    assert slide.notes == (
        f"1 label of {name} left out: no position",
        f"1 label of {name} left out: no counts (9x9)",
        f"1 spot without a row in {name}",
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"array": [(x + 20, y) for x, y in ARRAY]}, "found none in common"),
        ({"array": [ARRAY[0], *ARRAY[:5]]}, "expected every spot once, found 2x5"),
        ({"x": ["a"] * 6}, "expected a number, found 'a'"),
    ],
)
def test_labels_that_do_not_join_are_refused(tmp_path, given, said):
    write_her2st(tmp_path)
    write_labels(tmp_path, **given)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


@pytest.mark.parametrize("text", [b"", b"x\ty\n2\t5\n", b"x\ty\tlabel\0\n", b"\xff\xfe\x00"])
def test_a_damaged_file_is_said_in_one_line(tmp_path, text):
    write_her2st(tmp_path)
    write_labels(tmp_path)
    (tmp_path / "data/ST-pat/lbl/A1_labeled_coordinates.tsv").write_bytes(text)
    with pytest.raises(DataError, match=r"A1_labeled_coordinates\.tsv: expected") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.real
@pytest.mark.parametrize(
    ("section", "n_labelled", "n_domains"),
    [("A1", 341, 5), ("B1", 269, 4), ("C1", 167, 3), ("D1", 255, 3), ("E1", 534, 3), ("F1", 659, 3), ("H1", 530, 6)],
)
def test_labelled_spots_of_the_study(real_data, section, n_labelled, n_domains):
    domains = open_folder(real_data / "her2st", require_image=False).load(section).domains
    assert ((domains != "").sum(), len(set(domains) - {""})) == (n_labelled, n_domains)
