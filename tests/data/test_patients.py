"""Patients under several spellings."""

import pytest

from stbench.catalogue import dataset_cards
from stbench.data.cohort import Cohort
from stbench.data.crossing import joined
from stbench.data.opening import open_folder
from stbench.data.patients import one_spelling, patient_key
from stbench.data.slide import SlideRef
from stbench.data.splits import leave_one_patient_out, split_by_patient

from .layouts import write_her2st, write_hest


def cohort(*patients, name="mine"):
    refs = tuple(SlideRef(f"{name}{i}", patient) for i, patient in enumerate(patients))
    return Cohort(name, "memory", refs, reader=lambda slide_id: None)


def patients_of(found):
    return [ref.patient for ref in found.refs]


@pytest.mark.parametrize(
    "spellings",
    [
        ["Patient 2", "patient 2", " PATIENT  2 ", "patient_02", "Patient-2", "patient2", "Patient 2.0", "Patient #2"],
        ["1", "1.0", "01", "001", " 1 ", "1.00"],
        ["A", "a", " A\t"],
        ["Study: P1", "study:p1", "STUDY: P01"],
        ["Zoë 3", "ZOE\u0308 3"],
    ],
)
def test_spellings_of_one_patient(spellings):
    assert len({patient_key(spelling) for spelling in spellings}) == 1
    found = one_spelling(cohort(*spellings))
    assert set(patients_of(found)) == {spellings[0]}
    assert found.notes == (f"patients taken as one: {', '.join(map(repr, spellings))}",)


@pytest.mark.parametrize(
    "two",
    [
        ("Patient 1", "Patient 2"), ("Patient 12", "Patient 1-2"), ("P1.1", "P1.10"), ("A", "B"), ("HER2+", "HER2"),
        ("1", "1.5"), ("study one: P1", "study two: P1"), ("Donor 2", "Patient 2"),
    ],
)  # fmt: skip
def test_different_patients_stay_two(two):
    found = one_spelling(cohort(*two))
    assert patients_of(found) == list(two)
    assert found.notes == ()


@pytest.mark.parametrize(
    "two", [("P3", "P3 (block b)"), ("Patient 4", "4"), ("Patient 4", "P4"), ("s: P4", "s: pat. 4 [old]")]
)
def test_patients_that_look_alike_are_two_and_said(two):
    found = one_spelling(cohort(*two))
    assert patients_of(found) == list(two)
    (note,) = found.notes
    assert note.startswith(f"patients look alike and are taken as 2: '{two[0]}', '{two[1]}'")


def test_unknown_patients_stay_unknown():
    found = one_spelling(cohort("P1", None, "p1", None))
    assert patients_of(found) == ["P1", None, "P1", None]


def test_twice_changes_nothing():
    once = one_spelling(cohort("P1", "p1", "P2 (b)", "P2"))
    again = one_spelling(once)
    assert (patients_of(again), again.notes) == (patients_of(once), once.notes)


def test_patients_of_registered_cohorts_are_what_they_were():
    for card in dataset_cards().values():
        known = [slide.patient for slide in card.slides]
        assert patients_of(one_spelling(cohort(*known))) == known
        assert one_spelling(cohort(*known)).notes == ()


def test_a_folder_whose_metadata_spell_patients_differently(tmp_path):
    spelled = [1, "1.0", "Patient 2", "patient 2", "P3", "p_03"]
    for i, patient in enumerate(spelled):
        write_hest(tmp_path, f"S{i}", patient=patient, seed=i, patches=None, wsi=True)
    found = open_folder(tmp_path)
    names = [f"A study: {patient}" for patient in (1, 1, "Patient 2", "Patient 2", "P3", "P3")]
    assert patients_of(found) == names
    assert found.load("S3").patient == "A study: Patient 2"
    assert len(leave_one_patient_out(found.refs)) == 3
    split = split_by_patient(found.refs, 0)
    assert all({"S0", "S1"} <= set(part) or not {"S0", "S1"} & set(part) for part in (split.train, split.test))


def test_patients_of_two_cohorts(tmp_path):
    both = joined(cohort("study: P1", "study: P2", name="a"), cohort("Study: p1", "Study: p9", name="b"))
    assert patients_of(both) == ["study: P1", "study: P2", "study: P1", "Study: p9"]


@pytest.mark.parametrize(
    "nothing", [None, "", " ", "nan", "NaN", "None", "null", "n/a", "<NA>", "unknown", "-", "?", "Not available"]
)
def test_a_patient_that_is_null_comes_from_the_table(tmp_path, nothing):
    for i in range(3):
        write_hest(tmp_path, f"S{i}", patient=nothing, seed=i, patches=None, wsi=True, dataset_title=None)
    assert patients_of(open_folder(tmp_path)) == [None, None, None]
    rows = "".join(f"S{i},Pat{i // 2},toy\n" for i in range(3))
    (tmp_path / "HEST_v1_1_0.csv").write_text(f"id,patient,dataset_title\n{rows}")
    assert patients_of(open_folder(tmp_path)) == ["toy: Pat0", "toy: Pat0", "toy: Pat1"]


def test_what_the_sample_says_of_its_patient_comes_before_the_table(tmp_path):
    write_hest(tmp_path, "S1", patient="P7", patches=None, wsi=True)
    (tmp_path / "HEST_v1_1_0.csv").write_text("id,patient,dataset_title\nS1,P8,toy\n")
    assert patients_of(open_folder(tmp_path)) == ["A study: P7"]


@pytest.mark.parametrize(
    ("sections", "patients"),
    [
        (["A1", "A2", "B1"], ["A", "A", "B"]),
        (["BC01_C1", "BC01_C2", "BC02_D1"], ["BC01", "BC01", "BC02"]),
        (["BC23209_C1", "BT23287_D2"], ["BC23209", "BT23287"]),
        (["GSM5924030_A1", "sample1", "Visium_B"], [None, None, None]),
    ],
)
def test_the_patient_in_the_name_of_a_section(tmp_path, sections, patients):
    for seed, section in enumerate(sections):
        write_her2st(tmp_path, section, seed=seed)
    found = {ref.id: ref.patient for ref in open_folder(tmp_path).refs}
    assert found == dict(zip(sections, patients, strict=True))
