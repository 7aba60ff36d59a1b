"""The graph of neighbours that clusters are found in, against the one scanpy makes."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from stbench.metrics.fuzzy import fuzzy_union

KEPT = Path(__file__).with_name("fuzzy.npz")  # of scanpys()
SIZES = [(40, 3), (120, 20)]


def points(count, width, seed=0):
    spread = np.linspace(3, 0.3, width)
    return (np.random.default_rng(seed).normal(size=(count, width)) * spread).astype(np.float32)


def scanpys(places):
    """Connectivities that scanpy 1.11 and umap 0.5 leave, compiled by the process that asks: ten seconds."""
    import scanpy as sc
    from anndata import AnnData

    adata = AnnData(places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(adata, n_neighbors=15, use_rep="X")
    return adata.obsp["connectivities"].toarray()


@pytest.mark.parametrize(("count", "width"), SIZES)
def test_it_is_the_graph_that_scanpy_made(count, width):
    kept = np.load(KEPT)[f"{count} x {width}"]
    ours = fuzzy_union(points(count, width), 15).toarray()
    np.testing.assert_array_equal(ours > 0, kept > 0)
    np.testing.assert_allclose(ours, kept, atol=1e-6)


@pytest.mark.slow
def test_it_is_the_graph_that_scanpy_makes():
    for count, width in [*SIZES, (1000, 20)]:
        places = points(count, width, seed=1)
        np.testing.assert_allclose(fuzzy_union(places, 15).toarray(), scanpys(places), atol=1e-6)


def test_the_nearest_weigh_one_and_a_row_sums_to_the_logarithm_of_its_neighbours():
    places = points(60, 2)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(60, np.inf))
    weights = fuzzy_union(places, 15).toarray()
    np.testing.assert_allclose(weights[np.arange(60), apart.argmin(axis=1)], 1)
    np.testing.assert_array_equal(weights, weights.T)
    assert np.all(weights.sum(axis=1) >= np.log2(15) - 1e-4)  # one way it is equal; what others see of a spot adds
    assert not weights.diagonal().any()


def test_scale_and_place_do_not_matter():
    places = points(50, 4)
    np.testing.assert_allclose(fuzzy_union(places * 7 + 3, 15).toarray(), fuzzy_union(places, 15).toarray(), atol=1e-4)


def test_points_that_lie_on_each_other_have_finite_weights():
    places = points(40, 3)
    places[:20] = places[0]
    weights = fuzzy_union(places, 15)
    assert np.all((weights.data > 0) & (weights.data <= 1))
    np.testing.assert_array_equal(fuzzy_union(np.zeros((20, 2), np.float32), 15).data, 1)
