"""A mean over patients and seeds: known answers, other libraries, coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from stbench.pages.crossed import crossed
from stbench.pages.patients import estimate

RNG = np.random.default_rng(11)


def named(table):
    """Rows are patients, columns seeds."""
    return {f"p{i}": dict(enumerate(map(float, row))) for i, row in enumerate(table)}


def drawn(patients, seeds, of_patient, of_seed, rest):
    shape = (patients, seeds)
    own = RNG.normal(0, of_patient, (patients, 1)) + RNG.normal(0, of_seed, (1, seeds))
    return own + RNG.normal(0, rest, shape)


def test_one_seed_is_the_interval_of_boards():
    table = RNG.normal(size=(7, 1))
    found = crossed(named(table))
    assert found.half() == pytest.approx(estimate({f"p{i}": v for i, (v,) in enumerate(table)}).half)
    test = stats.ttest_1samp(table[:, 0], 0.0)
    assert (found.mean, found.p) == pytest.approx((table.mean(), test.pvalue))
    _, highest = stats.t.interval(0.90, 6, table.mean(), stats.sem(table[:, 0]))
    assert found.bound == pytest.approx(highest)


def test_the_error_is_that_of_an_analysis_of_variance():
    table = drawn(6, 4, 0.05, 0.2, 0.02)
    lines = [(p, s, table[p, s]) for p in range(6) for s in range(4)]
    frame = pd.DataFrame(lines, columns=["patient", "seed", "value"])
    squares = anova_lm(ols("value ~ C(patient) + C(seed)", frame).fit())["mean_sq"]
    variance = (squares["C(patient)"] + squares["C(seed)"] - squares["Residual"]) / 24
    assert crossed(named(table)).error == pytest.approx(np.sqrt(variance))


@pytest.mark.parametrize("of_seed", [0.0, 0.02, 0.2])
def test_seeds_never_narrow_the_interval(of_seed):
    for _ in range(20):
        table = drawn(5, 3, 0.05, of_seed, 0.02)
        alone = estimate({f"p{i}": float(v) for i, v in enumerate(table.mean(axis=1))})
        assert crossed(named(table)).half() >= alone.half - 1e-12


@pytest.mark.parametrize(("patients", "seeds", "of_seed"), [(8, 4, 0.03), (4, 4, 0.03), (8, 3, 0.0)])
def test_it_covers_the_truth(patients, seeds, of_seed):
    """Around 95 %; an interval over patients alone would cover about 80 % of the first case."""
    n = 400
    tables = [drawn(patients, seeds, 0.03, of_seed, 0.02) for _ in range(n)]
    covered = [abs(found.mean) <= found.half() for found in (crossed(named(table)) for table in tables)]
    assert np.mean(covered) >= 0.925


def test_no_interval_below_four_patients_or_where_none_may_be_given():
    table = RNG.normal(size=(3, 4))
    found = crossed(named(table))
    assert (found.half(), found.bound, found.p) == (None, None, 1.0)
    assert list(found.per_patient.values()) == pytest.approx(list(table.mean(axis=1)))
    assert crossed(named(RNG.normal(size=(8, 4))), interval=False).error is None


def test_a_seed_that_a_patient_lacks_says_nothing_of_seeds():
    values = named(RNG.normal(size=(5, 2)))
    del values["p0"][1]
    alone = estimate({patient: float(np.mean(list(seeds.values()))) for patient, seeds in values.items()})
    assert crossed(values).half() == pytest.approx(alone.half)
    assert crossed(values).mean == pytest.approx(alone.mean)


def test_what_does_not_vary():
    assert crossed(named(np.full((4, 2), 0.5))).p == 0.0
    assert crossed(named(np.zeros((4, 2)))).p == 1.0
