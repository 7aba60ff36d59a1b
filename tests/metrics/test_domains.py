"""Spatial domains: k-means clusters of a prediction against the domains of a slide."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from threadpoolctl import threadpool_limits

from stbench.errors import DataError
from stbench.metrics import domain_ari, domain_nmi, domain_self_ari, self_agreement
from stbench.metrics.domains import cluster, matched

NAMES = np.array(["stroma", "tumour", "fat", "gland"])


def tissue(n_spots=200, n_genes=40, apart=3.0, seed=0):
    """Expression of four domains, and their names; one spot in ten has none."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 4, n_spots)
    means = apart * generator.normal(size=(4, n_genes))
    domains = np.where(generator.random(n_spots) < 0.1, "", NAMES[codes])
    return (means[codes] + generator.normal(size=(n_spots, n_genes))).astype(np.float32), domains


def test_domains_that_are_apart_are_found():
    true, domains = tissue()
    score = domain_ari(true, true, domains)
    assert (score, domain_nmi(true, true, domains)) == (pytest.approx(1), pytest.approx(1))
    assert score.n_used == (domains != "").sum()


def test_scores_are_those_of_scikit_learn():
    true, domains = tissue(apart=0.25)
    has = domains != ""
    pcs = PCA(20, svd_solver="full").fit_transform(true[has].astype(float))
    clusters = KMeans(4, n_init=200, random_state=3).fit_predict(pcs)
    found = cluster(true[has], 4)
    spread = [
        np.square(pcs - np.stack([pcs[one == i].mean(0) for i in range(4)])[one]).sum() for one in (clusters, found)
    ]
    assert spread[1] <= 1.01 * spread[0]  # as good a minimum as of twenty times the starts
    expected = [measure(domains[has], found) for measure in (adjusted_rand_score, normalized_mutual_info_score)]
    np.testing.assert_allclose([float(f(pcs_of(true), true, domains)) for f in (domain_ari, domain_nmi)], expected)
    assert 0.02 < expected[0] < 0.98


def pcs_of(true):
    """A truth that is steady, whatever the prediction: only its own clusters are asked of it."""
    return tissue(len(true), true.shape[1])[0]


def test_noise_scores_0():
    true, domains = tissue()
    noise = np.random.default_rng(1).normal(size=true.shape)
    assert abs(domain_ari(true, noise, domains)) < 0.06
    assert 0 < domain_nmi(true, noise, domains) < 0.1


def test_names_order_of_spots_and_genes_shift_and_threads_do_not_matter():
    true, domains = tissue()
    pred = true + 6 * np.random.default_rng(2).normal(size=true.shape)
    score = domain_ari(true, pred, domains)
    assert 0.1 < score < 0.9
    generator = np.random.default_rng(1)
    spots, genes = generator.permutation(len(true)), generator.permutation(true.shape[1])
    assert domain_ari(true[spots], pred[spots], domains[spots]) == score
    assert domain_ari(true[:, genes], pred[:, genes] + 5, domains) == score
    renamed = np.array(["", "a", "b", "c", "d"])[np.unique(domains, return_inverse=True)[1]]
    assert domain_ari(true, pred, renamed) == pytest.approx(score, abs=1e-12)
    with threadpool_limits(4):
        assert domain_ari(true, pred * (1 + 1e-15), domains) == score


def test_spots_without_a_domain_do_not_count():
    true, domains = tissue()
    pred = true + 3 * np.random.default_rng(2).normal(size=true.shape)
    without = pred.copy()
    without[domains == ""] = 1e6
    assert domain_ari(true, without, domains) == domain_ari(true, pred, domains)


def test_a_prediction_of_fewer_values_than_domains():
    true, domains = tissue()
    pred = np.where((domains == "fat")[:, None], 1.0, 0.0) * np.ones(true.shape[1])
    expected = adjusted_rand_score(domains[domains != ""], (domains == "fat")[domains != ""])
    assert domain_ari(true, pred, domains) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(30, 5), (30, 60), (3, 60)], ids=str)
def test_panels_of_any_size(shape):
    values = np.random.default_rng(0).normal(size=shape)
    assert len(set(cluster(values, 2))) == 2


@pytest.mark.parametrize(
    ("domains", "reason"),
    [
        (np.full(200, ""), "expected 2 to 50 domains, found 0"),
        (np.full(200, "fat"), "expected 2 to 50 domains, found 1"),
        (np.linspace(0, 1, 200).astype(str), "expected 2 to 50 domains, found 200"),
        (np.where(np.arange(200) < 20, NAMES[np.arange(200) % 4], ""), "more than 20 spots with a domain, found 20"),
    ],
)
def test_what_cannot_be_compared_is_undefined(domains, reason):
    true, _ = tissue()
    for metric in (domain_ari, domain_nmi):
        assert metric(true, true, domains).value is None
        assert reason in metric(true, true, domains).reason


def test_a_prediction_that_is_constant_where_there_are_domains_is_undefined():
    true, domains = tissue()
    pred = np.where((domains == "")[:, None], true, np.float32(0.1))
    assert (domain_ari(true, pred, domains).value, domain_ari(true, pred, domains).reason) == (
        None, "the prediction does not vary over spots with a domain")  # fmt: skip


def test_nothing_is_ranked_where_the_truth_is_not_steady():
    generator = np.random.default_rng(0)
    noise, (pred, domains) = generator.normal(size=(400, 40)), tissue(400)
    assert self_agreement(noise[domains != ""], 4) < 0.8
    score = domain_ari(noise, pred, domains)
    assert score.value is None
    assert "agree to an ARI of 0." in score.reason
    assert self_agreement(pred, 4) == 1


def test_names_of_other_spots_are_refused():
    true, domains = tissue()
    with pytest.raises(DataError, match="expected domains of 200 spots"):
        domain_ari(true, true, domains[:-1])


def test_a_slide_says_how_steady_its_domains_are():
    true, domains = tissue()
    has = domains != ""
    assert domain_self_ari(true, np.zeros_like(true), domains) == self_agreement(true[has], 4) == pytest.approx(1)
    assert domain_self_ari(true, true, [""] * 200).value is None


def test_clusters_are_called_after_the_domains_that_they_share_most_spots_with():
    codes = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    assert list(matched(codes, np.array([2, 2, 2, 0, 0, 1, 1, 1]))) == list(codes)
    assert list(matched(codes, np.array([1, 1, 1, 1, 1, 0, 0, 0]))) == [0, 0, 0, 0, 0, 2, 2, 2]
    rng = np.random.default_rng(0)
    names, found = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    most = max(np.mean(np.array(order)[found] == names) for order in permutations(range(4)))
    assert np.mean(matched(names, found) == names) == most
