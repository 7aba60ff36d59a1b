"""Heat maps and scatters of structure against the metrics that score it."""

import numpy as np
import pytest

from stbench.metrics.structure import morans_i, spatial_weights, ssc
from stbench.pages.plots.structure import correlations, gene_order, moran, network


def test_correlations_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(30, 4))
    np.testing.assert_allclose(correlations(values), np.corrcoef(values.T), atol=1e-12)
    values[:, 2] = 1
    found = correlations(values)
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()
    assert np.isfinite(found[np.ix_([0, 1, 3], [0, 1, 3])]).all()


def test_genes_that_vary_together_are_neighbours():
    rng = np.random.default_rng(1)
    blocks = rng.normal(size=(200, 2))
    values = blocks[:, [0, 1, 0, 1, 0, 1]] + 0.1 * rng.normal(size=(200, 6))
    order = gene_order(correlations(values))
    assert sorted(order) == list(range(6))
    assert {frozenset(order[:3]), frozenset(order[3:])} == {frozenset({0, 2, 4}), frozenset({1, 3, 5})}
    values[:, 0] = 0
    assert sorted(gene_order(correlations(values))) == list(range(6))
    assert list(gene_order(np.eye(2))) == [0, 1]


def test_every_heat_map_has_the_order_of_the_truth(view):
    figure = network(view)
    order = gene_order(correlations(view.truth.expression))
    names = [view.task.genes[gene] for gene in order]
    maps = [axes for axes in figure.axes if axes.images]
    assert [[label.get_text() for label in axes.get_yticklabels()] for axes in maps] == [names] * 3
    for axes, values in zip(maps, [view.truth.expression, *(one.prediction.mean for one in view.shown)], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), correlations(values)[np.ix_(order, order)])
        assert axes.images[0].get_clim() == (-1, 1)
    pairs = [axes.images[0].get_array()[np.triu_indices(5, 1)] for axes in maps[:2]]
    gsc = view.shown[0].run.record.metrics["gsc"].per_slide["P3-s0"]
    assert np.corrcoef(*pairs)[0, 1] == pytest.approx(gsc)
    assert f"{gsc:.2f}".replace("-", "−") in maps[1].get_title()


def test_points_are_morans_i(view):
    figure = moran(view, view.task.genes[:2])
    weights = spatial_weights(view.truth.inputs.xy)
    for axes, shown in zip(figure.axes, view.shown, strict=True):
        at = axes.collections[0].get_offsets()
        np.testing.assert_allclose(at[:, 0], morans_i(view.truth.expression, weights))
        np.testing.assert_allclose(at[:, 1], morans_i(shown.prediction.mean, weights))
        assert [text.get_text() for text in axes.texts] == view.task.genes[:2]
        said = ssc(view.truth.expression, shown.prediction.mean, view.truth.inputs.xy).value
        assert np.corrcoef(at.T)[0, 1] == pytest.approx(said)
