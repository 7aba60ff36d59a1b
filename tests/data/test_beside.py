"""What users say of their slides in tables of their own."""

import pytest

from stbench.data.beside import PATIENTS, read_patients
from stbench.data.opening import open_dataset, open_folder
from stbench.errors import DataError, SettingError

from .layouts import GENES, visium_adata, write_her2st

SECTIONS = ("A1", "A2", "B1", "own")


@pytest.fixture
def folder(tmp_path):
    for section in SECTIONS:
        write_her2st(tmp_path / "mine", section)
    return tmp_path / "mine"


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def patients_of(cohort):
    return {ref.id: ref.patient for ref in cohort.refs}


def test_a_table_in_the_folder_says_whose_slides_are(folder):
    assert patients_of(open_folder(folder)) == {"A1": "A", "A2": "A", "B1": "B", "own": None}
    written(folder / PATIENTS, "slide,patient\nA1,p1\nA2,p2\nown,P1\n")
    cohort = open_folder(folder)
    assert patients_of(cohort) == {"A1": "p1", "A2": "p2", "B1": "B", "own": "p1"}
    assert {id_: cohort.load(id_).patient for id_ in cohort.ids} == patients_of(cohort)
    assert cohort.notes == (
        "patients.csv does not name B1: patients as their files say",
        "patients.csv gives another patient than the files of A1, A2, and is believed",
        "patients taken as one: 'p1', 'P1'",
    )


def test_a_table_lies_beside_a_cohort_that_is_one_file(tmp_path):
    visium_adata().write_h5ad(tmp_path / "S1.h5ad")
    assert patients_of(open_folder(tmp_path / "S1.h5ad")) == {"S1": None}
    written(tmp_path / PATIENTS, "slide,patient\nS1,p1\n")
    assert patients_of(open_folder(tmp_path / "S1.h5ad")) == {"S1": "p1"}


def test_a_table_that_is_named_wins_over_the_one_in_the_folder(folder, tmp_path):
    written(folder / PATIENTS, "slide,patient\nA1,p1\n")
    table = written(tmp_path / "other.csv", "patient;age;slide\nx;40;A1\nunknown;41;A2\n;;own\ny;42;Z9\n")
    cohort, _ = open_dataset(str(folder), None, patients=table)
    assert patients_of(cohort) == {"A1": "x", "A2": None, "B1": "B", "own": None}
    assert "other.csv names Z9: no such slide here" in cohort.notes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("slide,patient\nA1,p1\nA1,p2\n", "row 3: expected one patient of every slide, found 'p1' and 'p2' of A1"),
        ("section,patient\nA1,p1\n", "found the columns section, patient"),
        ("slide,patient\nA1\n", "found rows of other lengths"),
        ("", "found the columns"),
        ("slide,patient\nA1,p\0\n", "found: a zero byte"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path, text, found):
    with pytest.raises(DataError) as error:
        read_patients(written(tmp_path / "t.csv", text))
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_table_is_said(folder, tmp_path):
    with pytest.raises(DataError, match=r"expected a table of slides and patients, found: .*No such file"):
        open_folder(folder, patients=tmp_path / "none.csv")


def test_patients_of_a_registered_cohort_are_its_cards(tmp_path):
    with pytest.raises(SettingError, match=r"--patients: expected with a folder of your own, found her2st"):
        open_dataset("her2st", tmp_path, patients=tmp_path / "t.csv")


def test_folds_follow_the_table(folder):
    from stbench.data.splits import folds_of

    written(folder / PATIENTS, "slide,patient\nA1,p1\nA2,p2\nB1,p3\nown,p3\n")
    assert folds_of("lopo", open_folder(folder).refs, {}) == ["lopo-p1", "lopo-p2", "lopo-p3"]


def test_genes_of_two_ages_meet(tmp_path):
    """One cohort has CYR61 and the other CCN1; a column of each in one slide becomes one."""
    write_her2st(tmp_path / "old", "A1", genes=["CYR61", *GENES[1:]])
    write_her2st(tmp_path / "both", "A1", genes=["CYR61", "CCN1", *GENES[2:]])
    table = written(tmp_path / "genes.csv", "symbol,prev_symbol\nCCN1,CYR61\n")
    old, before = (open_dataset(str(tmp_path / "old"), None, genes_table=t)[0].load("A1") for t in (table, None))
    assert old.genes == ["CCN1", *GENES[1:]]
    assert before.genes[0] == "CYR61"
    assert (old.counts != before.counts).nnz == 0
    assert "1 genes renamed by genes.csv" in old.notes
    both, _ = open_dataset(str(tmp_path / "both"), None, genes_table=table)
    merged = both.load("A1")
    assert merged.genes == ["CCN1", *GENES[2:]]
    assert merged.counts[:, 0].sum() == before.counts[:, :2].sum()
    assert (merged.total_counts == before.total_counts).all()
