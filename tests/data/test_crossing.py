"""Two cohorts in one: names that cannot be mixed up, who shares a patient, who trains and validates."""

from dataclasses import replace

import pytest

from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.crossing import crossed, joined, split_across
from stbench.data.opening import open_dataset
from stbench.data.slide import SlideRef
from stbench.errors import SettingError, UserError

from .layouts import counts, hest_adata, write_hest


def cohort(name, *slides, **more):
    """A cohort whose slides are read as their own ids."""
    return Cohort(name, "memory", tuple(SlideRef(*slide) for slide in slides), lambda id_: f"{name} {id_}", **more)


OURS = cohort("ours", ("A1", "a"), ("A2", "a"), ("B1", "b"), ("B2", "b"), ("C1", "c"))


@pytest.fixture
def folders(tmp_path):
    """Slides S1 and S2 of one study in one folder, T1 of another study in another."""
    for seed, id_ in enumerate(["S1", "S2"]):
        write_hest(tmp_path / "ours", id_, hest_adata(counts(seed)), patient=f"P{seed}")
    write_hest(tmp_path / "theirs", "T1", hest_adata(counts(7)), patient="P0", dataset_title="Another study")
    return tmp_path


def cross(folders, ours="ours", theirs="theirs", card=None):
    name, test_name = str(folders / ours), str(folders / theirs)
    found, own = open_dataset(name, None)
    return crossed(found, card or own, name, test_name, None)


def test_a_slide_called_alike_is_told_apart_and_read_from_its_own_cohort(folders):
    write_hest(folders / "theirs", "S1", hest_adata(counts(8)), patient="P1", dataset_title="Another study")
    found = cross(folders)
    assert found.ids == ("S1", "S2", "theirs-S1", "theirs-T1")
    assert (found.name, found.test_name, found.tested) == ("ours-to-theirs", "theirs", ("theirs-S1", "theirs-T1"))
    slide = found.load("theirs-S1")
    assert (slide.id, slide.patient) == ("theirs-S1", "Another study: P1")
    assert (slide.counts.toarray() == counts(8)).all()
    assert (found.load("S1").counts.toarray() == counts(0)).all()


def test_no_two_slides_may_share_a_name():
    with pytest.raises(UserError, match="found theirs-A1 in ours too"):
        joined(cohort("ours", ("theirs-A1", "a")), cohort("theirs", ("A1", "b")))


@pytest.mark.parametrize(
    ("name", "patient", "known"),
    [
        ("theirs", "a", "theirs-a"),
        ("ours", "a", "a"),
        ("theirs", "A study: a", "A study: a"),
        ("theirs", None, None),
    ],
)
def test_patients_of_two_studies_are_not_the_same(name, patient, known):
    found = joined(OURS, cohort(name, ("X1", patient)))
    assert found.refs[-1] == SlideRef(f"{name}-X1", known)


@pytest.mark.parametrize("side", ["trains", "tests"])
def test_a_card_knows_the_patients_of_its_slides_in_another_layout(folders, monkeypatch, side):
    entries = [{"id": "S1", "section": "Z1", "patient": "z", "n_spots": 6}]
    card = DatasetCard(name="study", title="Study", slides=[*entries, {**entries[0], "id": "S9", "section": "Z9"}])
    if side == "trains":  # the card's cohort is asked for what a folder calls by the card's id
        write_hest(folders / "theirs", "S1", hest_adata(counts(8)), patient="P5")
        assert {ref.id: ref.patient for ref in cross(folders, card=card).refs}["theirs-S1"] == "z"
    else:
        other = cohort("study", ("Z9", "z"))
        monkeypatch.setattr("stbench.data.crossing.open_dataset", lambda *_, **__: (other, card))
        assert cross(folders).refs[-1].patient == "A study: P0"  # whose section S1 is


def test_slides_of_the_test_cohort_that_cannot_be_used_are_said():
    theirs = cohort("theirs", ("X1", "x"), left_out={"X2": "no picture"})
    assert joined(replace(OURS, left_out={"A9": "torn"}), theirs).left_out == {"A9": "torn", "theirs-X2": "no picture"}
    with pytest.raises(UserError, match="a slide of theirs to test on, found none; left out: no picture"):
        joined(OURS, replace(theirs, refs=()))


@pytest.mark.parametrize("again", ["ours", "link", "ours/../ours"])
def test_a_cohort_does_not_test_itself_under_another_name(folders, again):
    (folders / "link").symlink_to(folders / "ours")
    with pytest.raises(SettingError, match="expected another cohort than --dataset, found the same one"):
        cross(folders, theirs=again)


def test_real_and_simulated_slides_never_meet(folders):
    cohort, card = open_dataset(str(folders / "ours"), None)
    with pytest.raises(SettingError, match="--test-dataset simulated: expected real data as of ours, found simulated"):
        crossed(cohort, card, str(folders / "ours"), "simulated", None, folders / "cache")


THEIRS = cohort("theirs", ("X1", "x"), ("X2", "a"))


@pytest.mark.parametrize("rule", ["slide", "patient"])
def test_all_slides_of_one_test_and_the_other_is_dealt(rule):
    found = joined(OURS, THEIRS)
    for seed in range(10):
        split = split_across(found, rule, seed)
        assert split.test == ("theirs-X1", "theirs-X2")
        assert sorted(split.train + split.validation) == sorted(OURS.ids)
        if rule == "slide":
            assert len(split.validation) == 1
        else:
            assert not {id_[0] for id_ in split.train} & {id_[0] for id_ in split.validation}
    assert len({split_across(found, rule, seed) for seed in range(10)}) > 1


def test_without_validation_all_train():
    split = split_across(joined(OURS, THEIRS), "slide", 0, validates=False)
    assert (split.train, split.validation) == (OURS.ids, ())
    one = joined(cohort("one", ("A1", "a")), THEIRS)
    assert split_across(one, "slide", 0, validates=False).train == ("A1",)
    with pytest.raises(UserError, match="at least 2 slides for train and validation, found 1"):
        split_across(one, "slide", 0)


def test_rules_that_say_who_tests_are_refused():
    for rule in ("lopo", "kfold-3-1", "mine.json"):
        with pytest.raises(SettingError, match=f"--split {rule}: expected slide or patient with --test-dataset"):
            split_across(joined(OURS, THEIRS), rule, 0)


@pytest.mark.parametrize(("patients", "said"), [(("a", None), "A1: its patient is unknown"), (("a", "a"), "found 1")])
def test_patients_that_cannot_be_kept_apart(patients, said):
    ours = cohort("ours", *((f"A{i}", patient) for i, patient in enumerate(patients)))
    with pytest.raises(UserError, match=said):
        split_across(joined(ours, THEIRS), "patient", 0)
