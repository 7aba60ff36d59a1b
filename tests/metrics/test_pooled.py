"""Pooled PCC taken apart: what comes from differences between patients, and what from within."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from stbench.metrics import PooledBetween, PooledPcc, PooledWithin
from stbench.metrics.summary import add_slide, over_slides


def parts_of(slides):
    """Pooled PCC, B and W of (truth, prediction, patient)."""
    whole, between, within = PooledPcc(), PooledBetween(), PooledWithin()
    for true, pred, patient in slides:
        whole.update(true, pred)
        between.update(true, pred, patient)
        within.update(true, pred, patient)
    return whole.value(), between.value(), within.value()


@pytest.fixture
def cohort(slide):
    """Four slides of three patients, each patient on a level of its own."""
    levels = {"a": 0.0, "b": 3.0, "c": -1.0}
    made = [(*slide(side=side, seed=side)[:2], patient) for side, patient in ((4, "a"), (7, "b"), (9, "a"), (5, "c"))]
    return [(true + levels[patient], pred + 0.5 * levels[patient], patient) for true, pred, patient in made]


def test_the_parts_sum_to_the_whole_gene_by_gene(cohort):
    cohort[0][1][:, 0] = 2.0
    for _, pred, _ in cohort:
        pred[:, 1] = 0.5
    for true, _, _ in cohort:
        true[:, 2] = 1.0
    whole, between, within = parts_of(cohort)
    assert between + within == pytest.approx(whole, abs=1e-12)
    np.testing.assert_allclose(between.per_gene + within.per_gene, whole.per_gene, atol=1e-12)
    for score in (whole, between, within):
        assert (score.n_used, score.n_undefined, score.n_constant) == (11, 1, 1)


def test_each_part_equals_the_covariance_of_means_and_of_residuals(cohort):
    true, pred = (np.concatenate([slide[side] for slide in cohort]).astype(float) for side in (0, 1))
    patient = np.concatenate([[name] * len(truth) for truth, _, name in cohort])
    means = np.zeros((2, *true.shape))
    for name in np.unique(patient):
        means[:, patient == name] = [[side[patient == name].mean(axis=0)] for side in (true, pred)]
    scale = true.std(axis=0) * pred.std(axis=0)
    _, between, within = parts_of(cohort)
    covariance = ((means[0] - true.mean(axis=0)) * (means[1] - pred.mean(axis=0))).mean(axis=0)
    np.testing.assert_allclose(between.per_gene, covariance / scale, atol=1e-9)
    covariance = ((true - means[0]) * (pred - means[1])).mean(axis=0)
    np.testing.assert_allclose(within.per_gene, covariance / scale, atol=1e-9)


def test_knowing_the_patient_alone_is_all_between(cohort):
    level = {"a": 0.1, "b": 0.7, "c": 0.4}
    whole, between, within = parts_of([(true, np.full_like(true, level[name]), name) for true, _, name in cohort])
    assert within == pytest.approx(0, abs=1e-9)
    assert between == pytest.approx(whole)
    assert between > 0.5


def test_one_patient_is_all_within(slide):
    true, pred, _ = slide()
    whole, between, within = parts_of([(true[:60], pred[:60], "a"), (true[60:], pred[60:], "a")])
    assert between == pytest.approx(0, abs=1e-12)
    assert within == whole
    assert within.per_gene[0] == pytest.approx(pearsonr(true[:, 0], pred[:, 0]).statistic, abs=1e-6)


@pytest.mark.parametrize("metric", [PooledBetween, PooledWithin])
def test_unknown_patients_and_no_slide_are_undefined(slide, metric):
    true, pred, _ = slide()
    pooled = metric()
    assert pooled.value().reason == "no slide"
    pooled.update(true, pred, "a")
    pooled.update(true, pred)
    assert (pooled.value().value, pooled.value().reason) == (None, "the patient of a slide is not known")


def test_cards_hand_over_the_patient(cohort):
    metrics = over_slides()
    for true, pred, patient in cohort:
        add_slide(metrics, true, pred, {"xy": None, "patient": patient})
    found = [metrics[name].value() for name in ("pooled-pcc", "pooled-between", "pooled-within")]
    assert found == list(parts_of(cohort))
