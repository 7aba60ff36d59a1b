import gzip

import numpy as np
import pytest
from esda import Moran
from libpysal.weights import W
from scipy.sparse import csr_matrix

from stbench.errors import DataError
from stbench.metrics import gsc, moran_bias, morans_i, spatial_weights, ssc
from stbench.metrics.structure import MOST_TIES, CrowdedError

ROW = np.array([[0.0, 0], [1, 0], [2, 0]])


def esda_morans_i(values, weights):
    graph = W({spot: list(weights[spot].indices) for spot in range(weights.shape[0])}, silence_warnings=True)
    return [Moran(gene, graph, transformation="B", permutations=0).I for gene in values.T.astype(float)]


def hexagons(rows, columns):
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([(x + (y % 2) / 2).ravel(), (y * np.sqrt(3) / 2).ravel()], axis=1)


def test_gsc_equals_numpy(slide):
    true, pred, _ = slide()
    upper = np.triu_indices(12, 1)
    expected = np.corrcoef(np.corrcoef(true.T)[upper], np.corrcoef(pred.T)[upper])[0, 1]
    assert gsc(true, pred) == pytest.approx(expected, abs=1e-6)


def test_gsc_ignores_spot_order_gene_order_and_scale(slide):
    true, pred, _ = slide()
    generator = np.random.default_rng(1)
    spots, genes = generator.permutation(len(true)), generator.permutation(12)
    expected = gsc(true, pred)
    assert gsc(true, pred[spots]) == pytest.approx(expected, abs=1e-9)  # places do not matter
    assert gsc(true[:, genes], pred[:, genes]) == pytest.approx(expected, abs=1e-9)
    assert gsc(true, pred * np.arange(1, 13) + 7) == pytest.approx(expected, abs=1e-6)
    assert gsc(true, true) == pytest.approx(1)


@pytest.mark.parametrize("metric", ["gsc", "ssc"])
def test_structure_of_a_rank_one_prediction_is_undefined(slide, metric):
    true, _, xy = slide()
    depth = np.log(true.sum(axis=1, dtype=float) + 3)
    pred = (depth[:, None] * np.linspace(-1, 2, 12) + 3).astype(np.float32)
    score = gsc(true, pred) if metric == "gsc" else ssc(true, pred, xy)
    assert score.value is None
    assert "rank one" in score.reason or "equal up to rounding" in score.reason


@pytest.mark.parametrize("metric", ["gsc", "ssc"])
@pytest.mark.parametrize(("constant", "defined"), [(2, True), (3, False)])
def test_a_prediction_may_leave_one_gene_in_twenty_constant(slide, metric, constant, defined):
    true, pred, xy = slide(n_genes=40)
    pred[:, :constant] = 0.3
    score = gsc(true, pred) if metric == "gsc" else ssc(true, pred, xy)
    assert (score.value is not None) == defined
    assert (score.n_used, score.n_undefined, score.n_constant) == (40 - constant, constant, constant)
    if not defined:
        assert "constant for 3 of 40 genes" in score.reason


def test_genes_constant_in_the_truth_do_not_count_against_the_prediction(slide):
    true, pred, xy = slide()
    expected = gsc(true[:, 4:], pred[:, 4:]), ssc(true[:, 4:], pred[:, 4:], xy)
    true[:, :4] = 0
    assert gsc(true, pred) == pytest.approx(expected[0])
    assert ssc(true, pred, xy) == pytest.approx(expected[1])


def test_structure_of_two_genes_is_undefined(slide):
    true, pred, xy = slide(n_genes=2)
    assert gsc(true, pred).value is None
    assert "3 are needed" in ssc(true, pred, xy).reason


def test_morans_i_of_three_spots_in_a_row():
    weights = spatial_weights(ROW, k=1)
    np.testing.assert_array_equal(weights.toarray(), [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(morans_i([[1.0, 5], [1, 5], [-2, 5]], weights), [-0.25, np.nan])


def test_morans_i_and_ssc_equal_esda(slide):
    true, pred, xy = slide()
    weights = spatial_weights(xy)
    expected = esda_morans_i(true, weights), esda_morans_i(pred, weights)
    np.testing.assert_allclose(morans_i(true, weights), expected[0], atol=1e-6)
    assert ssc(true, pred, xy) == pytest.approx(np.corrcoef(*expected)[0, 1], abs=1e-6)
    assert moran_bias(true, pred, xy) == pytest.approx(np.mean(expected[1]) - np.mean(expected[0]), abs=1e-6)


def test_isolated_spots_stay_in_the_mean_and_add_no_weight(slide):
    true, _, xy = slide()
    xy[0] = 1e6
    weights = spatial_weights(xy)
    assert weights[0].nnz == 0
    z = true - true.mean(axis=0, dtype=float)
    expected = len(z) / weights.sum() * (z * (weights @ z)).sum(axis=0) / (z**2).sum(axis=0)
    np.testing.assert_allclose(morans_i(true, weights), expected, atol=1e-9)


def test_square_grid_has_eight_neighbours_and_border_ties():
    xy = np.stack(np.meshgrid(np.arange(9), np.arange(9)), axis=-1).reshape(-1, 2) * 217.3
    degree = np.asarray(spatial_weights(xy).sum(axis=1)).ravel().reshape(9, 9)
    assert (degree[3:6, 3:6] == 8).all()
    assert degree[0, 0] == 5  # of the ring of 8, what is within 2 pitches


@pytest.mark.parametrize(("k", "degree"), [(6, 6), (8, 12)])
def test_hexagonal_grid_takes_whole_rings(k, degree):
    weights = spatial_weights(hexagons(9, 9), k)
    assert weights[4 * 9 + 4].nnz == degree


def test_the_graph_does_not_depend_on_the_order_of_spots_and_the_papers_does():
    xy = np.stack(np.meshgrid(np.arange(7), np.arange(5)), axis=-1).reshape(-1, 2).astype(float)
    order = np.random.default_rng(0).permutation(len(xy))
    whole = spatial_weights(xy)[order][:, order] - spatial_weights(xy[order])
    first_k = spatial_weights(xy, 3, ties=False)[order][:, order] - spatial_weights(xy[order], 3, ties=False)
    assert abs(whole).sum() == 0
    assert abs(first_k).sum() > 0


def test_the_papers_graph_takes_k_in_spot_order_and_keeps_long_edges():
    xy = np.array([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [50, 0]])
    weights = spatial_weights(xy, 2, ties=False, max_pitches=None).toarray()
    assert list(np.flatnonzero(weights[0])) == [1, 2, 3, 4, 5]  # 3, 4 and 5 name spot 0 themselves
    assert weights[5].sum() == 2
    assert spatial_weights(xy, 2).toarray()[5].sum() == 0


def test_more_ties_than_first_looked_at_are_found():
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    xy = np.concatenate([[[0.0, 0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    assert spatial_weights(xy, 1, max_pitches=None)[0].nnz == 30


def test_spots_at_one_place_and_very_small_slides_have_a_graph():
    assert spatial_weights([[0.0, 0]]).nnz == 0
    assert spatial_weights([[0.0, 0], [1, 0]]).nnz == 2
    assert spatial_weights(np.zeros((20, 2)), 3).diagonal().sum() == 0


def heap(n_heaped, n=600):
    """A grid, of whose spots some lie at one place."""
    xy = np.stack(np.divmod(np.arange(n, dtype=float), 30), axis=1)
    xy[:n_heaped] = xy[0]
    return xy


def test_the_graph_of_up_to_the_limit_of_spots_at_one_place_is_whole():
    n = MOST_TIES - 2  # besides the spot itself, and one that ends the search
    weights = spatial_weights(heap(n))
    assert weights[0].nnz == n - 1
    assert weights[:n, :n].nnz == n * (n - 1)


@pytest.mark.parametrize("paper", [False, True])
def test_structure_is_undefined_where_many_spots_lie_at_one_place(paper):
    xy, true = heap(400), np.random.default_rng(0).normal(size=(600, 5))
    for metric in (ssc, moran_bias):
        found = metric(true, true + 1, xy, paper=paper)
        assert np.isnan(found)
        assert found.reason.startswith("expected at most 256 spots as near as the neighbours of a spot, found more")
        assert "(400 at one place)" in found.reason
        assert found.n_undefined == 5
    with pytest.raises(CrowdedError, match="leave out spots whose position is not known"):
        spatial_weights(xy)


def test_spots_at_one_place_cost_no_more_than_others():
    """To ask for the neighbours of each of 20,000 spots at one place would take minutes, for all ties 6 GB."""
    xy = np.concatenate([np.zeros((20_000, 2)), heap(0)])
    assert np.isnan(ssc(np.zeros((len(xy), 3)), np.zeros((len(xy), 3)), xy))


def test_many_spots_at_one_distance_are_undefined_as_well():
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    xy = np.concatenate([[[0.0, 0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    with pytest.raises(CrowdedError, match=r"found more around x 0, y 0 \(many equally far\)"):
        spatial_weights(xy)


def test_ssc_ignores_scale_of_genes_and_of_positions(slide):
    true, pred, xy = slide()
    expected = ssc(true, pred, xy)
    assert ssc(true, pred * np.arange(1, 13) - 2, xy / 290) == pytest.approx(expected, abs=1e-6)
    assert ssc(true, true, xy) == pytest.approx(1)


def test_smoothing_a_map_raises_the_moran_bias(slide):
    true, _, xy = slide()
    weights = spatial_weights(xy)
    smooth = (true + weights @ true) / (1 + np.asarray(weights.sum(axis=1)))
    assert moran_bias(true, smooth, xy) > 0.1
    assert moran_bias(true, true, xy) == 0


def test_slides_without_any_neighbour_are_undefined_with_a_reason():
    true = np.random.default_rng(0).normal(size=(1, 4))
    assert ssc(true, true, [[0.0, 0]]).reason
    assert moran_bias(true, true, [[0.0, 0]]).value is None
    spread = np.random.default_rng(0).normal(size=(6, 4))
    assert np.isnan(morans_i(spread, csr_matrix((6, 6)))).all()


def test_positions_that_do_not_fit_are_refused(slide):
    true, pred, xy = slide()
    with pytest.raises(DataError, match="positions of 121 spots as in the truth, found 120"):
        ssc(true, pred, xy[1:])
    with pytest.raises(DataError, match="k = 0"):
        spatial_weights(xy, 0)
    with pytest.raises(DataError, match="weights between 121 spots"):
        morans_i(true, spatial_weights(xy[1:]))


@pytest.mark.real
def test_structure_of_a_real_section_equals_esda(real_data):
    root = real_data / "her2st" / "data"
    with gzip.open(root / "ST-cnts" / "C3.tsv.gz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    counts = np.array([row[1:] for row in rows], dtype=float)
    counts = counts[:, np.argsort(-counts.sum(axis=0))[:20]]
    xy = np.array([row[0].split("x") for row in rows], dtype=float)
    weights = spatial_weights(xy)
    np.testing.assert_allclose(morans_i(np.log1p(counts), weights), esda_morans_i(np.log1p(counts), weights), atol=1e-6)
