from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import pearsonr

from stbench.errors import DataError
from stbench.metrics import PooledPcc, mae, mse, partial_pcc, pcc

REFERENCE = Path(__file__).parents[1] / "parity" / "flag" / "metrics.safetensors"


def test_pcc_of_hand_sized_genes():
    true = [[0, 0], [1, 1], [2, 2]]
    score = pcc(true, [[0, 4], [2, 2], [4, 0]])
    np.testing.assert_allclose(score.per_gene, [1, -1])
    assert (score, score.n_used, score.n_undefined) == (0, 2, 0)


def test_pcc_equals_scipy_gene_by_gene(slide):
    true, pred, _ = slide()
    expected = [pearsonr(a, b).statistic for a, b in zip(true.T.astype(float), pred.T.astype(float), strict=True)]
    score = pcc(true, pred)
    np.testing.assert_allclose(score.per_gene, expected, atol=1e-6)
    assert score == pytest.approx(np.mean(expected), abs=1e-6)


def test_pcc_ignores_spot_order_gene_order_shift_and_scale(slide):
    true, pred, _ = slide()
    generator = np.random.default_rng(1)
    spots, genes = generator.permutation(len(true)), generator.permutation(true.shape[1])
    moved = pred.astype(float) * generator.uniform(0.1, 10, true.shape[1]) + generator.normal(size=true.shape[1])
    assert pcc(true[spots][:, genes], pred[spots][:, genes]) == pytest.approx(pcc(true, pred), abs=1e-12)
    assert pcc(true, moved) == pytest.approx(pcc(true, pred), abs=1e-12)


def scores_of(true, pred):
    """PCC, partial PCC and pooled PCC of one slide."""
    pooled = PooledPcc()
    pooled.update(true, pred)
    depth = np.random.default_rng(3).normal(size=len(true))
    return pcc(true, pred), partial_pcc(true, pred, depth), pooled.value()


@pytest.mark.parametrize("pred_too", [False, True])
def test_a_gene_constant_in_the_truth_is_left_out_and_counted(slide, pred_too):
    true, pred, _ = slide()
    rest = scores_of(true[:, 1:], pred[:, 1:])
    true[:, 0] = 0.1
    pred[:, 0] = 0.1 if pred_too else pred[:, 0]
    for score, without in zip(scores_of(true, pred), rest, strict=True):
        assert score == pytest.approx(without)
        assert (score.n_used, score.n_undefined, score.n_constant) == (11, 1, 0)
        assert np.isnan(score.per_gene[0])


def test_a_gene_constant_in_the_prediction_scores_0_and_is_counted(slide):
    true, pred, _ = slide()
    rest = scores_of(true[:, 1:], pred[:, 1:])
    pred[:, 0] = 0.1
    for score, without in zip(scores_of(true, pred), rest, strict=True):
        assert score == pytest.approx(without * 11 / 12)
        assert (score.n_used, score.n_undefined, score.n_constant) == (12, 0, 1)
        assert score.per_gene[0] == 0


def test_nothing_is_won_by_predicting_the_easy_genes_alone():
    """A linear prediction of 200 genes, flattened on the 195 that it predicts worst, once scored best of all."""
    generator = np.random.default_rng(0)
    features, strength = generator.normal(size=(400, 8)), np.linspace(0.1, 0.8, 200)
    signal = features @ generator.normal(size=(8, 200)) * strength / np.sqrt(8)
    true = signal + generator.normal(size=signal.shape)
    weights = np.linalg.solve(features.T @ features + 10 * np.eye(8), features.T @ true)
    honest = features @ weights
    cheat = np.where(np.argsort(np.argsort(pcc(true, honest).per_gene)) < 195, true.mean(axis=0), honest)
    kept = pcc(true, cheat).per_gene
    assert kept[kept != 0].mean() > 0.65 > pcc(true, honest) > 0.3
    for score in scores_of(true, cheat):
        assert 0 < score <= 0.02
        assert (score.n_used, score.n_constant) == (200, 195)


def test_a_gene_that_varies_by_rounding_only_is_constant():
    true = np.random.default_rng(0).normal(size=(50, 2))
    pred = np.full((50, 2), 3.0, dtype=np.float32)
    pred[::2] = np.nextafter(pred[::2], np.float32(4))
    assert (pcc(true, pred), pcc(true, pred).n_constant) == (0, 2)
    assert pcc(pred, true).value is None


def test_pcc_of_a_constant_truth_is_undefined_and_says_why(slide):
    true, pred, _ = slide()
    for score in scores_of(np.ones_like(true), pred):
        assert score.value is None
        assert np.isnan(score)
        assert score.n_undefined == 12
        assert "constant in the truth" in score.reason


def test_a_truth_that_is_a_line_in_the_depth_says_nothing_of_a_constant_prediction():
    depth = np.arange(9.0)
    score = partial_pcc(np.stack([depth, depth**2], axis=1), np.ones((9, 2)), depth)
    assert (score.value, score.n_undefined, score.n_constant) == (0, 1, 1)
    assert partial_pcc(depth[:, None] ** 2, np.ones((9, 1)), np.ones(9)).value is None


def test_pcc_of_one_spot_is_undefined():
    assert pcc([[1.0, 2.0]], [[3.0, 4.0]]).value is None


def test_errors_of_hand_sized_arrays():
    assert mse([[0, 1], [2, 3]], [[0, 2], [2, 0]]) == 2.5
    assert mae([[0, 1], [2, 3]], [[0, 2], [2, 0]]) == 1
    np.testing.assert_allclose(mse([[0, 1], [2, 3]], [[0, 2], [2, 0]]).per_gene, [0, 5])


def test_partial_pcc_equals_the_correlation_of_residuals(slide):
    true, pred, _ = slide()
    depth = np.log(true.sum(axis=1, dtype=float) + 3)
    design = np.stack([np.ones_like(depth), depth], axis=1)
    residuals = [matrix - design @ np.linalg.lstsq(design, matrix, rcond=None)[0] for matrix in (true, pred)]
    assert partial_pcc(true, pred, depth) == pytest.approx(pcc(*residuals), abs=1e-6)


def test_partial_pcc_of_a_line_in_the_depth_is_undefined(slide):
    true, _, _ = slide()
    depth = np.log(true.sum(axis=1, dtype=float) + 3)
    score = partial_pcc(true, (depth[:, None] * np.arange(1, 13) + 0.5).astype(np.float32), depth)
    assert (score.value, score.n_undefined) == (None, 12)


def test_partial_pcc_refuses_a_depth_of_other_length(slide):
    true, pred, _ = slide()
    with pytest.raises(DataError, match="log depth of 121 spots as the truth, found 5"):
        partial_pcc(true, pred, np.ones(5))


def test_pooled_pcc_over_slides_equals_pcc_of_all_spots(slide):
    slides = [slide(side=side, seed=side) for side in (4, 7, 9)]
    slides[1][0][:, :] += 5  # a slide on another level
    pooled = PooledPcc()
    for true, pred, _ in slides:
        pooled.update(true, pred)
    together = pcc(np.concatenate([true for true, *_ in slides]), np.concatenate([pred for _, pred, _ in slides]))
    np.testing.assert_allclose(pooled.value().per_gene, together.per_gene, atol=1e-12)
    assert pooled.value() == pytest.approx(together, abs=1e-12)


def test_pooled_pcc_sees_a_patient_level_that_is_constant_within_slides():
    generator = np.random.default_rng(0)
    pooled = PooledPcc()
    for level in (0.0, 1.0):
        pooled.update(generator.normal(level, 0.1, size=(20, 3)), np.full((20, 3), level))
    assert pooled.value() > 0.9


def test_pooled_pcc_of_nothing_is_undefined_and_of_a_constant_prediction_0(slide):
    pooled = PooledPcc()
    assert pooled.value().value is None
    for seed in range(3):
        true, _, _ = slide(seed=seed)
        pooled.update(true, np.full_like(true, 0.1))
    assert pooled.value().value == 0
    assert pooled.value().n_constant == 12


def test_pooled_pcc_refuses_another_number_of_genes(slide):
    pooled = PooledPcc()
    pooled.update(*slide()[:2])
    with pytest.raises(DataError, match="12 genes as in earlier slides, found 3"):
        pooled.update(*slide(n_genes=3)[:2])


def test_pooled_scores_equal_the_official_metrics():
    reference = load_file(REFERENCE)
    pairs = [(reference[f"input/gt{window}"], reference[f"input/pred{window}"]) for window in (0, 1)]
    pooled = PooledPcc()
    for true, pred in pairs:
        pooled.update(true, pred)
    score = pooled.value()
    true, pred = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    varying = ~np.isnan(score.per_gene) & (pred.std(axis=0) > 0)  # the original leaves constant predictions out
    best = np.sort(score.per_gene[varying])[::-1]
    assert best.mean() == pytest.approx(float(reference["output/PCC-valid"]), abs=1e-6)
    assert best[:10].mean() == pytest.approx(float(reference["output/PCC-10"]), abs=1e-6)
    assert best[:50].mean() == pytest.approx(float(reference["output/PCC-50"]), abs=1e-6)
    assert len(best) == reference["output/valid_count"]
    assert score.n_undefined + score.n_constant == reference["output/nan_count"]
    assert mse(true, pred) == pytest.approx(float(reference["output/MSE"]), abs=1e-6)
    assert mae(true, pred) == pytest.approx(float(reference["output/MAE"]), abs=1e-6)


@pytest.mark.parametrize("metric", [pcc, mse, mae])
def test_a_value_that_is_not_finite_is_named(slide, metric):
    true, pred, _ = slide()
    pred[7, 3] = np.nan
    with pytest.raises(DataError, match="predicted expression, found nan at spot 7, gene 3"):
        metric(true, pred)


def test_shapes_that_differ_are_refused(slide):
    true, pred, _ = slide()
    with pytest.raises(DataError, match=r"shape \(121, 12\) as the truth, found \(121, 11\)"):
        pcc(true, pred[:, 1:])
    with pytest.raises(DataError, match=r"found shape \(121,\)"):
        pcc(true[:, 0], pred[:, 0])
