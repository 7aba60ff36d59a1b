"""Correlation of gene sets' scores and networks."""

import numpy as np
import pytest

from stbench.errors import DataError
from stbench.metrics import gene_set_gsc, gene_set_pcc, gsc, pcc, set_scores

GENES = [f"G{i}" for i in range(12)]
SETS = {"first": [*GENES[:6], "ABSENT"], "few": GENES[:4], "last": GENES[6:]}


def test_scores_are_means_of_standardised_genes(slide):
    true, pred, _ = slide()
    z = [(each.astype(float) - each.mean(0, dtype=float)) / each.std(0, dtype=float) for each in (true, pred)]
    maps = [np.stack([each[:, :6].mean(1), each[:, 6:].mean(1)], axis=1) for each in z]
    score = gene_set_pcc(true, pred, GENES, SETS)
    expected = pcc(*maps)
    np.testing.assert_allclose(score.per_gene, [expected.per_gene[0], np.nan, expected.per_gene[1]])
    assert (score, score.n_used, score.n_undefined) == (pytest.approx(expected), 2, 1)
    found = set_scores(true, GENES, SETS)
    assert list(found) == ["first", "last"]
    np.testing.assert_allclose(found["last"], maps[0][:, 1], atol=1e-6)


def test_networks_are_those_of_the_sets_own_genes(slide):
    true, pred, _ = slide()
    score = gene_set_gsc(true, pred, GENES, SETS)
    expected = [gsc(true[:, :6], pred[:, :6]), gsc(true[:, 6:], pred[:, 6:])]
    np.testing.assert_allclose(score.per_gene, [expected[0], np.nan, expected[1]])
    assert score == pytest.approx(np.mean(expected))


def test_order_scale_of_genes_and_a_set_of_all(slide):
    true, pred, _ = slide()
    order = np.random.default_rng(0).permutation(12)
    for metric in (gene_set_pcc, gene_set_gsc):
        score = metric(true, pred, GENES, SETS)
        assert metric(true[::-1][:, order], pred[::-1][:, order] * 3 + 1, np.array(GENES)[order], SETS) == (
            pytest.approx(score, abs=1e-6)
        )
        assert metric(true, true, GENES, SETS) == pytest.approx(1)
    assert gene_set_gsc(true, pred, GENES, {"all": GENES}) == pytest.approx(gsc(true, pred))


def test_a_panel_without_a_set_is_undefined(slide):
    true, pred, _ = slide()
    for sets in ({}, {"few": GENES[:4]}, {"others": ["X"] * 9}):
        for metric in (gene_set_pcc, gene_set_gsc):
            score = metric(true, pred, GENES, sets)
            assert (score.value, score.reason) == (None, "no gene set has 5 genes in the panel")
    assert set_scores(true, GENES, {}) == {}


def test_a_set_that_is_predicted_constant_scores_0(slide):
    true, pred, _ = slide()
    pred[:, 6:] = 0.1
    score = gene_set_pcc(true, pred, GENES, SETS)
    assert (score.per_gene[2], score.n_constant) == (0, 1)
    assert gene_set_gsc(true, pred, GENES, SETS).n_used == 1
    flat = np.full_like(pred, 0.1)
    assert gene_set_pcc(true, flat, GENES, SETS) == 0
    assert gene_set_gsc(true, flat, GENES, SETS).value is None
    assert gene_set_pcc(flat, pred, GENES, SETS).value is None


def test_names_of_another_panel_are_refused(slide):
    with pytest.raises(DataError, match="expected names of 12 genes"):
        gene_set_pcc(*slide()[:2], GENES[:-1], SETS)
