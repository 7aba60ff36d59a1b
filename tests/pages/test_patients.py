"""Statistics over patients: known answers and other libraries."""

import gc

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from stbench.pages.patients import (
    MOST_PATIENTS,
    by_patient,
    difference,
    estimate,
    group_of_best,
    holm,
    no_interval,
    patients_needed,
    sign_flip_p,
)

from ..grids.conftest import facts

RNG = np.random.default_rng(3)


def named(values):
    return {f"p{i}": float(value) for i, value in enumerate(values)}


def test_slides_of_a_patient_count_once():
    patients = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}
    assert by_patient({"a1": 0.2, "a2": 0.4, "b1": 0.9, "c1": None}, patients) == pytest.approx({"a": 0.3, "b": 0.9})
    assert by_patient({"a1": 0.2, "x": 0.4}, patients) is None


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        ("cdef", ""),
        ("cdec", "3 test patients"),
        ("cccc", "1 test patient"),
        ("cdea", "test patients train or validate"),
        ("cdeb", "test patients train or validate"),
        (["c", "d", "e", None], "patients unknown"),
    ],
)
def test_whether_something_is_said_of_other_patients(patients, said):
    of_slide = dict(zip(["t1", "t2", "t3", "t4"], patients, strict=True))
    assert no_interval(facts(5, test=list(of_slide), patients={"a1": "a", "b1": "b", **of_slide})) == said


def test_the_t_interval_is_that_of_scipy():
    values = RNG.normal(size=8)
    found = estimate(named(values))
    low, high = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert estimate(named(values[:3])).half is None
    assert estimate(named(values), interval=False).half is None


def test_a_paired_difference():
    first, second = RNG.normal(size=8), RNG.normal(size=8)
    found = difference(named(first), named(second))
    test = stats.ttest_rel(first, second)
    assert (found.mean, found.p) == pytest.approx(((first - second).mean(), test.pvalue))
    power = TTestPower().solve_power(nobs=8, alpha=0.05, power=0.8) * (first - second).std(ddof=1)
    assert found.detectable == pytest.approx(power, rel=1e-3)
    assert difference(named(first[:3]), named(second)).half is None
    assert difference({"a": 1.0}, {"b": 1.0}) is None


def test_the_smallest_detectable_difference_is_that_of_the_sheet():
    """In sd of patient-mean differences: n = 4, 6, 8, 12, 22."""
    for n, expected in ((4, 2.13), (6, 1.43), (8, 1.16), (12, 0.89), (22, 0.63)):
        values = RNG.normal(size=n)
        found = difference(named(values), named(np.zeros(n)))
        assert found.detectable / values.std(ddof=1) == pytest.approx(expected, abs=0.011)


@pytest.mark.parametrize(("spread", "gap"), [(0.02, 0.02), (0.02, 0.01), (0.05, 0.02), (0.001, 0.02)])
def test_so_many_patients_show_a_difference_and_one_less_does_not(spread, gap):
    needed, power = patients_needed(spread, gap), TTestPower().power
    assert power(gap / spread, nobs=needed, alpha=0.05) >= 0.8
    assert needed == 4 or power(gap / spread, nobs=needed - 1, alpha=0.05) < 0.8


def test_more_patients_than_anybody_has_are_not_counted_up():
    assert patients_needed(1.0, 1e-6) == MOST_PATIENTS
    assert patients_needed(0.0, 0.02) == 4


def test_sign_flips():
    assert sign_flip_p([1, 2, 3, 4, 5, 6, 7, 8]) == 2 / 2**8  # its floor
    values = RNG.normal(0.4, size=9)
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p(values) == pytest.approx(exact)
    many = RNG.normal(0.1, size=20)
    test = stats.permutation_test((many,), np.mean, permutation_type="samples", n_resamples=50_000, rng=1).pvalue
    assert sign_flip_p(many) == pytest.approx(test, abs=0.02)


def test_holm_is_that_of_statsmodels(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels collects at every call
    for _ in range(50):
        ps = RNG.uniform(0, 0.1, size=7)
        assert holm(ps) == list(multipletests(ps, 0.05, "holm")[0])
    assert holm([]) == []


def test_the_group_of_the_best():
    shared = RNG.normal(size=8)
    rows = {"a": shared + 1, "b": shared + 1 + RNG.normal(0, 0.01, 8), "c": shared, "d": shared - 3}
    rows = {name: named(values) for name, values in rows.items()}
    assert set(group_of_best(rows, higher=True)) == {"a", "b"}
    assert group_of_best(rows, higher=False)[0] == "d"
    few = {name: {key: values[key] for key in ("p0", "p1", "p2")} for name, values in rows.items()}
    assert set(group_of_best(few, higher=True)) == set(rows)  # three patients tell nothing apart
    assert group_of_best({}, higher=True) == []


@pytest.mark.parametrize("n", [4, 8, 22])
def test_coverage_of_the_interval(n):
    """Patient effects and slide effects of equal variance, three slides a patient."""
    generator = np.random.default_rng(n)
    covered = 0
    for _ in range(1500):
        slides = generator.normal(size=(n, 1)) + generator.normal(size=(n, 3))
        found = estimate(named(slides.mean(axis=1)))
        covered += abs(found.mean) <= found.half
    assert 0.93 <= covered / 1500 <= 0.97


@pytest.mark.parametrize("n", [4, 8, 22])
def test_both_of_two_best_rows_stay_in_their_group(n):
    """Eight methods of which two tie; patient-by-method sd .02, the others .05 behind."""
    generator = np.random.default_rng(n)
    kept = np.zeros(2)
    for _ in range(400):
        patients = generator.normal(0, 0.1, n)
        levels = [0.0, 0.0, *[-0.05] * 6]
        rows = {str(i): named(patients + level + generator.normal(0, 0.02, n)) for i, level in enumerate(levels)}
        group = group_of_best(rows, higher=True)
        kept += ["0" in group, "1" in group]
    assert (kept / 400 >= 0.93).all()
