"""Damaged cohorts: each is told or harmless; none ends in a traceback, a wrong number, a hang or a crash."""

import shutil
import warnings

import pytest

from .mutations import CLEAN, COHORTS, SILENT, baseline, judged, main, mutate, sound

QUICK, MANY = 4, 300


@pytest.fixture(autouse=True)
def _quiet():
    """Damaged files make libraries warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


LONG = ("h5ad", "spatialdata")  # HDF5 is damaged in hest, too; all layouts are by the hundred where slow tests run


@pytest.mark.parametrize(
    "layout", [pytest.param(layout, marks=[pytest.mark.slow] if layout in LONG else []) for layout in COHORTS]
)
def test_a_few_damaged_cohorts(layout, tmp_path):
    assert [one for one in main([layout], range(QUICK), tmp_path) if one.verdict != CLEAN] == []


@pytest.mark.slow
@pytest.mark.parametrize("layout", COHORTS)
def test_many_damaged_cohorts(layout, tmp_path):
    assert [one for one in main([layout], range(MANY), tmp_path) if one.verdict != CLEAN] == []


def test_a_wrong_number_would_be_seen(tmp_path):
    known = baseline("her2st", tmp_path / "sound")
    sound("her2st", tmp_path / "cohort")
    (tmp_path / "out").mkdir()
    rows, scores = known
    assert judged(tmp_path / "cohort", tmp_path / "out", (rows, {**scores, "pcc": 0.5}))[0] == SILENT


def test_a_mutation_is_that_of_its_number(tmp_path):
    said = []
    for _ in range(2):
        sound("hest", tmp_path / "cohort")
        said.append(mutate(tmp_path / "cohort", 11))
        shutil.rmtree(tmp_path / "cohort")
    assert said[0] == said[1]
