"""The first principal component of a prediction."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from stbench.metrics import pc1_pcc, pc1_share, pcc


@pytest.mark.parametrize("n_genes", [12, 150])  # fewer and more genes than spots
def test_share_and_component_equal_those_of_scikit_learn(slide, n_genes):
    true, pred, _ = slide(n_genes=n_genes)
    pca = PCA(1, svd_solver="full").fit(pred.astype(float))
    assert pc1_share(true, pred) == pytest.approx(pca.explained_variance_ratio_[0])
    component = pca.inverse_transform(pca.transform(pred.astype(float)))
    np.testing.assert_allclose(pc1_pcc(true, pred).per_gene, pcc(true, component).per_gene, atol=1e-9)


def test_hand_sized_components():
    pred = np.array([[2.0, 1, 7], [-2, 1, 7], [2, -1, 7], [-2, -1, 7]])
    share = pc1_share(pred, pred)
    assert (share, share.n_used, share.n_undefined) == (pytest.approx(16 / 20), 2, 1)
    score = pc1_pcc(pred, pred)
    np.testing.assert_allclose(score.per_gene, [1, 0, np.nan], atol=1e-9)
    assert score.n_constant == 1
    tilted = np.array([[3.0, 1, 1], [-1, 1, 1], [1, -1, 1], [-3, -1, 1]])
    assert pc1_pcc(np.repeat(tilted[:, :1], 3, axis=1), pred).per_gene[1] == 0  # no weight, though the map fits


def test_a_map_of_depth_is_all_in_one_component(slide):
    true, _, _ = slide()
    depth = np.log(true.sum(axis=1, dtype=float) + 3)
    pred = (depth[:, None] * np.linspace(0.5, 2, 12) + 3).astype(np.float32)
    assert pc1_share(true, pred) == pytest.approx(1)
    assert pc1_pcc(true, pred) == pytest.approx(pcc(true, pred), abs=1e-6)


def test_spot_order_gene_order_and_shift_do_not_matter(slide):
    true, pred, _ = slide()
    generator = np.random.default_rng(1)
    spots, genes = generator.permutation(len(true)), generator.permutation(12)
    moved = (pred.astype(float) + generator.normal(size=12))[spots][:, genes]
    assert pc1_share(true, moved) == pytest.approx(pc1_share(true, pred))
    assert pc1_pcc(true[spots][:, genes], moved) == pytest.approx(pc1_pcc(true, pred))


def test_a_constant_prediction_has_no_component_and_scores_0(slide):
    true, pred, _ = slide()
    flat = np.full_like(pred, 0.1)
    assert (pc1_share(true, flat).value, pc1_share(true, flat).reason) == (
        None, "every gene is constant in the prediction")  # fmt: skip
    assert (pc1_pcc(true, flat), pc1_pcc(true, flat).n_constant) == (0, 12)
    pred[:, 0] = 0.1
    assert pc1_pcc(true, pred).n_constant == 1
    assert pc1_share(true, pred) == pytest.approx(pc1_share(true[:, 1:], pred[:, 1:]))
