"""What is tuned never sees the slides that an outer fold tests."""

import json

import numpy as np
import pytest
from anndata import read_h5ad
from scipy.sparse import csr_matrix

from stbench.cli.main import main
from stbench.data.parts import Split, WithoutValidation
from stbench.data.slide import SlideRef
from stbench.errors import DataError, UnknownNameError
from stbench.evaluation.record import read_record
from stbench.evaluation.tuned import read_choice
from stbench.files import write_text
from stbench.studies.tuning.inner import inner_folds, without_test
from stbench.studies.tuning.plan import plan_tuning

from ...evaluation.conftest import make_cohort, make_slide
from .conftest import STIFF, TINY, request, trials
from .test_study import predictions

FOLD = "lopo-simulated: P01"  # as the layout names patients
NAME = f"{FOLD}/stiff"


def refs(**patients):
    """Slides by patient: ``refs(a=2, b=1)``."""
    return [SlideRef(f"{name}{n}", name, 9) for name, slides in patients.items() for n in range(slides)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_patient_is_left_out_in_each_and_the_next_validates(seed):
    found = inner_folds(refs(a=2, b=1, c=2, d=1), 3, seed)
    assert found.said == "3 inner folds of 4, one patient left out in each"
    tested = [{slide[0] for slide in split.test} for split in found.splits]
    assert all(len(patients) == 1 for patients in tested)
    assert len({*map(frozenset, tested)}) == 3
    for split in found.splits:
        parts = [{slide[0] for slide in part} for part in (split.train, split.validation, split.test)]
        assert not parts[0] & parts[1]
        assert not (parts[0] | parts[1]) & parts[2]
        assert len(split.slides) == 6


def test_of_two_patients_those_folds_that_can_be():
    (split,) = inner_folds(refs(a=1, b=3), 3, 0).splits
    assert split == Split(("b0", "b1"), ("b2",), ("a0",))
    assert len(inner_folds(refs(a=2, b=2), 3, 0).splits) == 2
    with pytest.raises(DataError, match="expected a third patient or a second slide of one of two"):
        inner_folds(refs(a=1, b=1), 3, 0)


def test_by_slide_where_one_patient_is_left_and_said_so():
    found = inner_folds(refs(a=4), 2, 0)
    assert (
        found.said == "2 inner folds of 4, one slide left out in each (not by patient: one patient alone, a, is left)"
    )
    assert all(len(split.test) == len(split.validation) == 1 and len(split.train) == 2 for split in found.splits)
    unknown = [SlideRef("x", None, 9), *refs(a=2)]
    assert inner_folds(unknown, 9, 0).said.endswith("(not by patient: patients are unknown)")
    with pytest.raises(DataError, match=r"inner folds: expected at least 3 slides .* found a0, a1; add slides"):
        inner_folds(refs(a=2), 3, 0)


def test_an_outer_fold_without_validation_has_inner_ones_without():
    for some in (refs(a=1, b=1), refs(a=2)):
        found = inner_folds(some, 3, 0, validates=False)
        assert all(isinstance(split, WithoutValidation) for split in found.splits)
        assert len(found.splits) == 2


def test_the_cohort_that_is_tuned_on_cannot_read_a_slide_that_tests():
    cohort = make_cohort([make_slide(f"P{p}-s0", f"P{p}") for p in range(3)])
    kept = without_test(cohort, Split(("P0-s0",), ("P1-s0",), ("P2-s0",)))
    assert kept.ids == ("P0-s0", "P1-s0")
    assert kept.load("P0-s0").id == "P0-s0"
    with pytest.raises(UnknownNameError, match="unknown slide of tiny 'P2-s0'"):
        kept.load("P2-s0")


def test_every_task_of_a_study_is_built_from_such_a_cohort(cache, tmp_path, here, study):
    plan = plan_tuning(request(split="lopo"), tmp_path, cache)
    for fold in plan.plan.folds:
        assert not {*plan.desk(fold).cohort.ids} & {*fold.split.test}
        for cell in plan.bars_of(fold):
            assert plan.desk_of(cell).cohort.ids == plan.desk(fold).cohort.ids


@pytest.fixture
def folder(tmp_path, monkeypatch, cache):
    """The cohort as files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STBENCH_CACHE", str(cache))
    words = [word for setting in TINY for word in ("--simulate", setting)]
    assert main(["datasets", "export", "simulated", "mine", *words]) == 0
    return tmp_path / "mine"


def counts_of(folder, patient):
    (path,) = folder.rglob(f"*{patient}*.h5ad")
    return path


def predicted(folder, study):
    """Slide to the hash of what the tuned method predicts of it in the outer fold."""
    words = ["--encoder", "mean-rgb", "--genes", "4", "--split", FOLD, "--preset", "small", "--no-controls"]
    out = study.with_name(f"{study.name}-run")
    said = ["run", "--method", STIFF, "--dataset", str(folder), *words, "--tuned", str(study), "--out", str(out)]
    assert main(said) == 0
    return read_record(out / "stiff-tuned").predictions


def test_other_counts_of_the_patient_that_tests_change_nothing_to_the_bit(folder, here, study, tmp_path):
    asked = {"dataset": str(folder), "simulate": (), "trials": 3, "split": FOLD}
    study(tmp_path / "one", **asked)
    first = predicted(folder, tmp_path / "one")
    path = counts_of(folder, "P01")
    adata = read_h5ad(path)
    before = adata.X.toarray()
    adata.X = csr_matrix(np.random.default_rng(0).permuted(before, axis=0))
    assert (adata.X.toarray() != before).any()
    adata.write_h5ad(path)
    study(tmp_path / "two", **asked)
    assert trials(tmp_path / "one", NAME) == trials(tmp_path / "two", NAME)
    assert predictions(tmp_path / "one") == predictions(tmp_path / "two")
    chosen = "lopo-simulated-P01/stiff/settings.toml"
    assert (tmp_path / "one" / chosen).read_bytes() == (tmp_path / "two" / chosen).read_bytes()
    assert len(predictions(tmp_path / "one")) > 6
    second = predicted(folder, tmp_path / "two")
    assert first == second
    assert len(first) == 2  # the slides that validate and test


def test_other_counts_of_a_patient_that_trains_change_trials(folder, here, study, tmp_path):
    asked = {"dataset": str(folder), "simulate": (), "trials": 2, "split": FOLD}
    study(tmp_path / "one", **asked)
    path = counts_of(folder, "P02")
    adata = read_h5ad(path)
    adata.X = csr_matrix(np.random.default_rng(0).permuted(adata.X.toarray(), axis=0))
    adata.write_h5ad(path)
    study(tmp_path / "two", **asked)
    assert trials(tmp_path / "one", NAME) != trials(tmp_path / "two", NAME)


def test_a_slide_that_tests_need_not_even_be_readable(folder, here, study, tmp_path):
    asked = {"dataset": str(folder), "simulate": (), "trials": 2, "split": FOLD}
    study(tmp_path / "one", **asked)
    counts_of(folder, "P01").write_bytes(b"no slide")
    study(tmp_path / "two", **asked)
    assert trials(tmp_path / "one", NAME) == trials(tmp_path / "two", NAME)


def test_a_study_of_a_split_file(here, study, tmp_path):
    parts = {"train": ["P02S1", "P03S1"], "validation": ["P04S1"], "test": ["P01S1"]}
    write_text(tmp_path / "mine.json", json.dumps(parts))
    study(tmp_path / "out", trials=1, split=str(tmp_path / "mine.json"))
    choice = read_choice(tmp_path / "out/mine/stiff/settings.toml")
    assert choice.fold == str(tmp_path / "mine.json")
    assert choice.tuned.slides == ["P02S1", "P03S1", "P04S1"]


def test_what_is_made_from_all_slides_is_said_to_be(cache, write_her2st, tmp_path, monkeypatch):
    for section in ("A1", "B1", "C1", "D1"):
        write_her2st(tmp_path / "her2st", section)
    asked = {"dataset": "her2st-semisynthetic", "simulate": ["n_genes=5"], "encoder": None, "data_root": tmp_path}
    plan = plan_tuning(request(split="lopo-patient_a", **asked), tmp_path / "out", cache)
    assert plan.study.caveat.startswith("features of this cohort are made from the counts of all its slides")
    assert ("note", plan.study.caveat) in plan.lines()
    secret = plan_tuning(request(split="lopo-patient_a", secret=tmp_path / "s", **asked), tmp_path / "out", cache)
    assert secret.study.caveat == ""
