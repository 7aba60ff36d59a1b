"""Differences between runs, paired by seed and slide."""

import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stbench.catalogue import load_entry
from stbench.evaluation.summaries import summarise, summarise_draws
from stbench.pages.patients import by_patient, difference
from stbench.pages.rows import DECLARED, SINGLE, Group, rows_of
from stbench.studies.ablation.results import gap_of, score_of

from ...grids.conftest import SLIDES, facts, record

BENCHMARK = Path(__file__).parents[3] / "benchmarks/sweep_differences.py"
FIRST = {0: [0.1, 0.2, 0.6], 1: [0.3, 0.5, 0.8], 2: [0.2, 0.2, 0.7]}
SECOND = {0: [0.0, 0.3, 0.4], 1: [0.1, 0.4, 0.9], 2: [0.1, 0.0, 0.5]}


def runs(values, method="flag", **changes):
    return {seed: record(method, facts(5), per_slide, seed=seed, **changes) for seed, per_slide in values.items()}


def test_a_known_difference():
    found = gap_of(runs(FIRST), runs(SECOND), "pcc", DECLARED)
    per_seed = [0.2 / 3, 0.2 / 3, 0.5 / 3]
    assert list(found.per_seed.values()) == pytest.approx(per_seed)
    assert found.mean == pytest.approx(0.1)
    half = 4.302652729911275 * statistics.stdev(per_seed) / 3**0.5  # t(0.975, 2)
    assert found.over_seeds == pytest.approx(half)
    assert not found.excludes_zero
    assert gap_of(runs(SECOND), runs(FIRST), "pcc", DECLARED).mean == pytest.approx(-0.1)


PATIENTS = {"t1": "c", "t2": "c", "t3": "d", "t4": "e", "t5": "f"}


def on_patients(values, of_slide=PATIENTS, seed=0):
    """A run on slides of some patients."""
    task = facts(5, test=list(of_slide), patients={"a1": "a", "b1": "b", **of_slide})
    metrics = {"pcc": summarise(dict(zip(of_slide, values, strict=True)))}
    return record("flag", task, FIRST[0], seed=seed).model_copy(update={"metrics": metrics})


def test_the_interval_over_patients_is_that_of_leaderboards():
    first = {seed: on_patients([0.1, 0.2, 0.6, 0.3, 0.9 + seed / 10], seed=seed) for seed in (0, 1)}
    second = {seed: on_patients([0.0, 0.3, 0.4, 0.4, 0.5 - seed / 10], seed=seed) for seed in (0, 1)}
    means = [by_patient(dict(zip(PATIENTS, values, strict=True)), PATIENTS) for values in (
        [0.1, 0.2, 0.6, 0.3, 0.95], [0.0, 0.3, 0.4, 0.4, 0.45],
    )]  # fmt: skip
    found = gap_of(first, second, "pcc", DECLARED)
    assert found.over_patients == pytest.approx(difference(*means).half)
    low, high = stats.t.interval(0.95, 3, 0, stats.sem([0.0, 0.2, -0.1, 0.5]))
    assert found.over_patients == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(
    "changed",
    [{"t5": "e"}, {"t5": "a"}, {"t5": "b"}, {"t5": None}],
    ids=["three patients", "one trains", "one validates", "one unknown"],
)
def test_nothing_is_said_of_other_patients(changed):
    of_slide = PATIENTS | changed
    first, second = on_patients([0.1, 0.2, 0.6, 0.3, 0.9], of_slide), on_patients([0.0, 0.3, 0.4, 0.4, 0.5], of_slide)
    found = gap_of({0: first}, {0: second}, "pcc", DECLARED)
    assert (found.mean, found.over_patients) == (pytest.approx(0.1), None)


def test_the_interval_over_seeds_is_that_of_sweeps():
    lines = [
        {"metric": "pcc", "row": "declared", "genes": 5, "seed": seed, "series": name, "value": value}
        for name, values in (("a", FIRST), ("b", SECOND))
        for seed, per_slide in values.items()
        for value in per_slide
    ]
    mean, half = load_entry(f"{BENCHMARK}:differences")(pd.DataFrame(lines), "a", "b", "pcc", "declared")[5]
    found = gap_of(runs(FIRST), runs(SECOND), "pcc", DECLARED)
    assert (found.mean, found.over_seeds) == (pytest.approx(mean), pytest.approx(half))


def test_a_shift_excludes_zero():
    shifted = {seed: [value + 0.1 + 0.001 * seed for value in values] for seed, values in FIRST.items()}
    found = gap_of(runs(shifted), runs(FIRST), "pcc", DECLARED)
    assert found.excludes_zero
    test = stats.ttest_1samp(np.array(list(found.per_seed.values())), 0.0)
    assert test.confidence_interval().low == pytest.approx(found.mean - found.over_seeds)


def test_only_what_both_have_is_compared():
    holes = {0: [0.1, None, 0.6], 1: FIRST[1]}
    found = gap_of(runs(holes), runs({**SECOND, 3: SECOND[0]}), "pcc", DECLARED)
    assert found.per_seed == pytest.approx({0: 0.15, 1: 0.2 / 3})
    one = gap_of(runs({0: FIRST[0]}), runs(SECOND), "pcc", DECLARED)
    assert (one.over_seeds, one.excludes_zero) == (None, False)
    assert gap_of(runs({0: FIRST[0]}), runs({1: FIRST[1]}), "pcc", DECLARED) is None
    assert gap_of({}, runs(SECOND), "pcc", DECLARED) is None
    assert gap_of(runs({0: [None] * 3}), runs(SECOND), "pcc", DECLARED) is None


def test_a_score_is_that_of_leaderboards():
    cell = rows_of(Group("g", tuple(runs(FIRST).values())))[0].cells["pcc"]
    found = score_of(runs(FIRST), "pcc", DECLARED)
    assert (found.mean, found.over_slides) == (pytest.approx(cell.mean), pytest.approx(cell.std_slides))
    assert found.over_seeds == pytest.approx(statistics.stdev([0.3, 1.6 / 3, 1.1 / 3]))
    assert score_of(runs({0: [None] * 3}), "pcc", DECLARED) is None
    assert score_of({}, "pcc", DECLARED) is None


def test_one_prediction_stands_beside_single_draws():
    single = {"pcc": summarise_draws({slide: [0.2, 0.4] for slide in SLIDES})}
    sampled = runs(FIRST, draws=2, metrics_single_draw=single)
    assert score_of(sampled, "pcc", SINGLE).mean == pytest.approx(0.3)
    assert gap_of(runs(SECOND), sampled, "pcc", SINGLE).mean == pytest.approx(0.3 - 0.3)
    assert gap_of(runs(SECOND), sampled, "pcc", DECLARED).mean == pytest.approx(-0.1)
