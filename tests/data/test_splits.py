"""Splits of slides."""

import json

import numpy as np
import pytest

from stbench.catalogue import find_dataset
from stbench.data.slide import SlideRef
from stbench.data.splits import (
    Split,
    folds_of,
    is_protocol,
    is_rule_of_folds,
    k_fold,
    leak_fraction,
    leave_one_patient_out,
    patient_k_fold,
    read_split,
    rule_of,
    split_by_patient,
    split_by_protocol,
    split_by_slide,
    split_sizes,
    split_without_test,
)
from stbench.errors import DataError, UnknownNameError, UserError


def cohort(**sections):
    """Slides ``a0``, ``a1``... of patients by number of sections."""
    return [SlideRef(f"{patient}{i}", patient) for patient, n in sections.items() for i in range(n)]


def card_refs(name):
    return [SlideRef(slide.id, slide.patient) for slide in find_dataset(name).slides]


REFS = cohort(a=3, b=2, c=4, d=1)


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(36, (25, 7, 4)), (23, (16, 4, 3)), (12, (8, 2, 2)), (10, (7, 2, 1)), (4, (2, 1, 1)), (3, (1, 1, 1))],
)
def test_sizes_of_7_2_1(n, sizes):
    assert split_sizes(n) == sizes


def test_sizes_always_add_up():
    for n in range(3, 200):
        assert sum(split_sizes(n)) == n
        assert min(split_sizes(n)) >= 1


def test_two_slides_cannot_be_split():
    with pytest.raises(UserError, match=r"at least 3 slides .* found 2"):
        split_sizes(2)


@pytest.mark.parametrize("source", ["slide", "patient", "kfold-3-1", "lopo-a"])
def test_too_few_slides_say_why_each_is_left_out(source):
    bare = {slide: f"no picture: expected patches/{slide}.h5" for slide in ("N1", "N2", "N3", "N4")}
    left_out = {**bare, "N7": "counts are damaged"}
    with pytest.raises(UserError) as error:
        split_by_protocol(source, REFS[:1], 0, left_out)
    assert str(error.value) == (
        "expected at least 3 slides for train, validation and test, found 1; left out: N1, N2, N3 ... (4 slides): no "
        "picture: expected patches/<slide>.h5; N7: counts are damaged; mend these or add slides"
    )
    assert split_by_protocol("slide", REFS, 0, left_out) == split_by_protocol("slide", REFS, 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [split_by_slide, split_by_patient])
def test_parts_partition_the_slides(make, seed):
    split = make(REFS, seed)
    assert sorted(split.slides) == sorted(ref.id for ref in REFS)
    assert len(set(split.slides)) == len(REFS)


def test_seed_decides():
    assert split_by_slide(REFS, 3) == split_by_slide(REFS, 3)
    assert len({split_by_slide(REFS, seed) for seed in range(20)}) > 10


@pytest.mark.parametrize("seed", range(20))
def test_split_by_patient_never_shares_one(seed):
    split = split_by_patient(REFS, seed)
    parts = [{slide[0] for slide in part} for part in (split.train, split.validation, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 4
    assert leak_fraction(split, REFS) == 0


def test_patients_are_needed():
    with pytest.raises(UserError, match=r"at least 3 patients .* found 2"):
        split_by_patient(cohort(a=5, b=5), 0)
    for make in (lambda refs: split_by_patient(refs, 0), leave_one_patient_out):
        with pytest.raises(UserError, match="slide x: its patient is unknown"):
            make([*REFS, SlideRef("x", None)])
    with pytest.raises(UserError, match="at least 2 patients to leave one out, found 1"):
        leave_one_patient_out(cohort(a=5))
    with pytest.raises(UserError, match="at least 2 slides of patient b to train and validate on, found 1"):
        leave_one_patient_out(cohort(a=5, b=1))


@pytest.mark.parametrize("k", [3, 4, 10])
def test_folds_partition_the_slides(k):
    splits = k_fold(REFS, k, seed=1)
    assert len(splits) == k
    tested = [slide for split in splits for slide in split.test]
    assert sorted(tested) == sorted(ref.id for ref in REFS)
    validated = [slide for split in splits for slide in split.validation]
    assert sorted(validated) == sorted(tested)
    assert all(len(split.slides) == len(REFS) for split in splits)


@pytest.mark.parametrize("k", [2, 11])
def test_numbers_of_folds_that_are_not_possible(k):
    with pytest.raises(UserError, match=f"between 3 and 10 folds .* found {k}"):
        k_fold(REFS, k, 0)


def test_leave_one_patient_out():
    splits = leave_one_patient_out(REFS)
    assert [{slide[0] for slide in split.test} for split in splits] == [{"a"}, {"b"}, {"c"}, {"d"}]
    assert [len(split.test) for split in splits] == [3, 2, 4, 1]
    assert all(leak_fraction(split, REFS) == 0 for split in splits)
    assert all(not {s[0] for s in split.validation} & {s[0] for s in split.train} for split in splits)


def test_of_two_patients_the_last_slide_of_the_other_validates():
    first, second = leave_one_patient_out(cohort(a=3, b=2))
    assert (first.train, first.validation, first.test) == (("b0",), ("b1",), ("a0", "a1", "a2"))
    assert (second.train, second.validation, second.test) == (("a0", "a1"), ("a2",), ("b0", "b1"))


def test_folds_of_patients():
    refs = cohort(a=3, b=2, c=4, d=1, e=2)
    splits = patient_k_fold(refs, 3, seed=2)
    assert sorted(slide for split in splits for slide in split.test) == sorted(ref.id for ref in refs)
    for split in splits:
        owners = [{slide[0] for slide in part} for part in (split.train, split.validation, split.test)]
        assert sum(map(len, owners)) == 5  # no patient on two sides
    assert split_by_protocol("patient-kfold-3-2", refs, 2) == splits[1]
    with pytest.raises(UserError, match="between 3 and 5 folds"):
        patient_k_fold(refs, 6, seed=0)


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("kfold-5-2", "kfold-5"), ("patient-kfold-3-1", "patient-kfold-3"), ("lopo-P 01", "lopo"), ("slide", "slide"),
        ("lopo", "lopo"), ("a/mine.json", "a/mine.json"),
    ],
)  # fmt: skip
def test_the_rule_of_a_fold(source, rule):
    assert rule_of(source) == rule
    if is_rule_of_folds(rule):
        folds = folds_of(rule, cohort(**dict.fromkeys("abcde", 1)))
        assert {rule_of(fold) for fold in folds} == {rule}


def test_protocols_by_name():
    assert split_by_protocol("slide", REFS, 5) == split_by_slide(REFS, 5)
    assert split_by_protocol("patient", REFS, 5) == split_by_patient(REFS, 5)
    assert [split_by_protocol(f"kfold-4-{i}", REFS, 5) for i in (1, 2, 3, 4)] == k_fold(REFS, 4, 5)
    assert split_by_protocol("lopo-c", REFS, 5) == leave_one_patient_out(REFS)[2]
    for name in ("kfold-4-0", "kfold-4-5"):
        with pytest.raises(UserError, match="a fold from 1 to 4"):
            split_by_protocol(name, REFS, 5)
    with pytest.raises(UnknownNameError, match="unknown patient 'e'"):
        split_by_protocol("lopo-e", REFS, 5)
    with pytest.raises(UnknownNameError, match="unknown split 'patients': did you mean patient"):
        split_by_protocol("patients", REFS, 5)
    assert [is_protocol(name) for name in ("slide", "kfold-3-1", "lopo-a", "slide.json")] == [True, True, True, False]


def test_leak_fraction():
    split = Split(train=("a0", "b0"), validation=("c0",), test=("a1", "a2", "c1", "d0"))
    assert leak_fraction(split, REFS) == 0.5
    unknown = [SlideRef(ref.id, None if ref.id == "d0" else ref.patient) for ref in REFS]
    assert leak_fraction(split, unknown) is None


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"), [("her2st", 0.974, 0.02), ("kidney", 0.063, 0.03), ("prad", 1.0, 0)]
)
def test_leakage_of_the_literatures_cohorts(name, expected, tolerance):
    """Exact expectations of the data's README."""
    refs = card_refs(name)
    leaked = [leak_fraction(split_by_slide(refs, seed), refs) for seed in range(300)]
    assert np.mean(leaked) == pytest.approx(expected, abs=tolerance)


def test_a_split_of_the_users(tmp_path):
    path = tmp_path / "split.json"
    parts = {"train": ["b0", "a0"], "validation": ["c0"], "test": ["d0"]}
    path.write_text(json.dumps(parts))
    assert read_split(path, REFS) == Split(("b0", "a0"), ("c0",), ("d0",))


@pytest.mark.parametrize(
    ("parts", "error", "said"),
    [
        ({"train": ["a0"], "validation": ["b0"], "test": ["c9"]}, UnknownNameError, "(in test of .*): did you mean c"),
        ({"train": ["a0"], "validation": ["a0"], "test": ["b0"]}, UserError, "every slide once, found a0 twice"),
        ({"train": ["a0", "a0"], "validation": ["c0"], "test": ["b0"]}, UserError, "found a0 twice"),
        ({"train": ["a0"], "validation": [], "test": ["b0"]}, UserError, "at least one validation slide, found none"),
        ({"train": ["a0"], "val": ["b0"], "test": ["c0"]}, DataError, "keys train, validation and test, found .*val"),
        (
            {"train": ["a0"], "validation": ["z"], "test": ["c0"]},
            DataError,
            "validation slide z cannot be used: no picture",
        ),
        (["a0"], DataError, "found list"),
    ],
)
def test_split_files_that_are_wrong(tmp_path, parts, error, said):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(parts))
    with pytest.raises(error, match=said):
        read_split(path, REFS, {"z": "no picture"})


def test_split_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"JSON in .*gone\.json"):
        read_split(tmp_path / "gone.json", REFS)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"JSON in .*bad\.json"):
        read_split(tmp_path / "bad.json", REFS)


@pytest.mark.parametrize(("n", "validation"), [(2, 1), (3, 1), (7, 1), (8, 2), (10, 2), (36, 7)])
def test_without_a_test_part_slides_are_dealt_8_to_2(n, validation):
    for refs in (cohort(a=n), [SlideRef(f"s{i}", None) for i in range(n)]):
        split = split_without_test(refs, 0)
        assert (len(split.train), len(split.validation), split.test) == (n - validation, validation, ())
        assert sorted(split.slides) == sorted(ref.id for ref in refs)
        assert leak_fraction(split, refs) is None
    assert split_without_test(cohort(a=n), 0) == split_without_test(cohort(a=n), 0)


def test_without_a_test_part_known_patients_are_kept_apart():
    refs = [*cohort(a=2, b=3), SlideRef("x", None), SlideRef("y", None)]
    seen = set()
    for seed in range(20):
        split = split_without_test(refs, seed)
        assert len({slide[0] for slide in split.validation}) == 1
        assert not {slide[0] for slide in split.validation} & {slide[0] for slide in split.train}
        seen.add(split.validation)
    assert seen == {("a0", "a1"), ("b0", "b1", "b2"), ("x",), ("y",)}


def test_without_a_test_part_two_slides_are_needed():
    with pytest.raises(UserError, match="expected at least 2 slides for train and validation, found 1; add slides"):
        split_without_test(cohort(a=1), 0)


@pytest.mark.parametrize("source", ["slide", "patient", "kfold-4-2", "patient-kfold-3-1", "lopo-b"])
def test_without_validation_its_slides_train(source):
    full, without = (split_by_protocol(source, REFS, 3, validates=validates) for validates in (True, False))
    assert set(without.train) == {*full.train, *full.validation}
    assert (without.validation, without.test) == ((), full.test)


def test_without_validation_one_slide_of_the_other_patient_is_enough():
    split = split_by_protocol("lopo-b", cohort(a=1, b=1), 0, {"N1": "no picture"}, validates=False)
    assert (split.train, split.validation, split.test) == (("a0",), (), ("b0",))


def test_a_file_may_leave_validation_empty_where_none_is_asked_for(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["a0"], "validation": [], "test": ["b0"]}))
    assert read_split(path, REFS, validates=False).slides == ("a0", "b0")
    with pytest.raises(UserError, match="at least one validation slide"):
        read_split(path, REFS)
    path.write_text(json.dumps({"train": ["a0"], "validation": ["a1"], "test": ["b0"]}))
    assert read_split(path, REFS, validates=False).train == ("a0", "a1")


@pytest.mark.parametrize(
    ("n", "left_out", "said"), [(1, None, "found 1; use"), (0, {"N1": "torn"}, "found 0; left out: N1: torn;")]
)
def test_one_patient_cannot_be_left_out(n, left_out, said):
    with pytest.raises(UserError, match=f"expected at least 2 patients to leave one out, {said}"):
        folds_of("lopo", cohort(a=3)[: 3 * n], left_out)
