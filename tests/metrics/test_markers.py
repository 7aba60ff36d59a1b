"""Marker overlap: ranks, what counts, and scanpy as the other way to compute them."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from stbench.metrics import marker_domains, marker_overlap
from stbench.metrics.markers import rank_sum_z

from .test_domains import tissue


def counted(n_spots=120, n_genes=30, seed=0):
    """Expression with many ties, as counts have, of four domains."""
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 4, n_spots)
    rates = np.exp(generator.normal(size=(4, n_genes)))
    return np.log1p(generator.poisson(rates[codes])).astype(np.float32), np.array(list("abcd"))[codes]


def test_p_is_that_of_scipy():
    true, domains = counted()
    true = true.astype(float)
    z = rank_sum_z(true, np.unique(domains, return_inverse=True)[1])
    for number, name in enumerate("abcd"):
        inside = domains == name
        test = mannwhitneyu(true[inside], true[~inside], use_continuity=False, method="asymptotic")
        np.testing.assert_allclose(2 * norm.sf(np.abs(z[number])), test.pvalue, rtol=1e-9)
        np.testing.assert_array_equal(z[number] > 0, test.statistic > inside.sum() * (~inside).sum() / 2)


@pytest.mark.slow  # scanpy compiles
def test_z_is_that_of_scanpy():
    import scanpy as sc
    from anndata import AnnData

    true, domains = counted()
    adata = AnnData(true, obs={"domain": domains.astype(object)})
    adata.obs["domain"] = adata.obs["domain"].astype("category")
    adata.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(adata, "domain", method="wilcoxon", tie_correct=True)
    z = rank_sum_z(true.astype(float), np.unique(domains, return_inverse=True)[1])
    for number, name in enumerate("abcd"):
        table = sc.get.rank_genes_groups_df(adata, name).set_index("names")["scores"]
        np.testing.assert_allclose(z[number], table[adata.var_names], rtol=1e-5, atol=1e-6)


@pytest.mark.slow  # scanpy compiles
def test_overlap_is_that_of_scanpys_rankings():
    import scanpy as sc
    from anndata import AnnData

    true, domains = counted(400)
    pred = true + np.random.default_rng(1).normal(0, 0.8, true.shape).astype(np.float32)
    tops = []
    for values in (true, pred):
        adata = AnnData(values, obs={"domain": domains.astype(object)})
        adata.obs["domain"] = adata.obs["domain"].astype("category")
        adata.uns["log1p"] = {"base": None}
        sc.tl.rank_genes_groups(adata, "domain", method="wilcoxon", tie_correct=True)
        tops.append({name: set(sc.get.rank_genes_groups_df(adata, name)["names"][:5]) for name in "abcd"})
    shares = [len(tops[0][name] & tops[1][name]) / 5 for name in "abcd"]
    assert marker_domains(true, pred, domains, k=5) == 4
    assert marker_overlap(true, pred, domains, k=5) == pytest.approx(np.mean(shares))
    assert 0.2 < np.mean(shares) < 1


def test_a_rank_sum_by_hand():
    z = rank_sum_z(np.array([[1.0, 7], [2, 7], [2, 7], [4, 7]]), np.array([0, 0, 1, 1]))
    assert z[1, 0] == pytest.approx(1.5 / np.sqrt(4 / 12 * (2.25 + 2.25)))  # ranks 1, 2.5, 2.5, 4
    assert z[0, 0] == -z[1, 0]
    assert np.isnan(z[:, 1]).all()


def test_overlap_by_hand():
    """Five genes are high in either half of the spots; the prediction takes two of either for two of the other."""
    codes = np.repeat([0, 1], 40)
    noise = np.random.default_rng(0).normal(0, 0.1, size=(80, 10))
    true = noise + (codes[:, None] == np.repeat([0, 1], 5))
    domains = np.array(["a", "b"])[codes]
    pred = true[:, [5, 6, 2, 3, 4, 0, 1, 7, 8, 9]]
    assert marker_overlap(true, true, domains, k=5) == 1
    assert marker_overlap(true, pred, domains, k=5) == pytest.approx(3 / 5)
    assert marker_overlap(true, pred, domains, k=5, above_chance=True) == pytest.approx(3 / 5 - 5 / 10)
    assert marker_overlap(true, -true, domains, k=5) == 0
    assert (marker_domains(true, pred, domains, k=5), marker_domains(true, pred, domains, k=5).n_used) == (2, 2)


def test_a_domain_without_enough_markers_does_not_count():
    """Domain a is set apart by 12 genes, b and c by 5 each."""
    codes = np.repeat([0, 1, 2], 60)
    markers = np.zeros((3, 40))
    markers[0, :12], markers[1, 12:17], markers[2, 17:22] = 3, 3, 3
    true = np.random.default_rng(0).normal(size=(180, 40)) + markers[codes]
    domains = np.array(list("abc"))[codes]
    assert [marker_domains(true, true, domains, k=k) for k in (5, 10)] == [3, 1]
    score = marker_overlap(true, true, domains, k=10)
    assert (score, score.n_used) == (1, 1)
    noise = np.random.default_rng(0).normal(size=true.shape)
    score = marker_overlap(noise, true, domains)
    assert (score.value, score.reason) == (None, "no domain has 20 up-regulated genes in the truth")
    assert marker_domains(noise, true, domains) == 0


def test_noise_scores_chance():
    true, domains = tissue(n_spots=400, n_genes=100)
    generator = np.random.default_rng(3)
    found = [marker_overlap(true, generator.normal(size=true.shape), domains) for _ in range(5)]
    assert np.mean(found) == pytest.approx(0.2, abs=0.06)


def test_names_order_of_spots_and_genes_do_not_matter():
    true, domains = tissue()
    pred = true + 4 * np.random.default_rng(2).normal(size=true.shape)
    score = marker_overlap(true, pred, domains, k=10)
    assert 0.3 < score < 1
    generator = np.random.default_rng(1)
    spots, genes = generator.permutation(len(true)), generator.permutation(true.shape[1])
    moved = marker_overlap(true[spots][:, genes], pred[spots][:, genes], domains[spots], k=10)
    assert moved == pytest.approx(score)
    assert marker_overlap(true, np.exp(pred), domains, k=10) == score  # ranks alone matter
    pred[domains == ""] = 9
    assert marker_overlap(true, pred, domains, k=10) == score


def test_a_constant_gene_is_no_marker():
    true, domains = tissue()
    pred = true.copy()
    pred[:, :20] = 0.1
    assert marker_overlap(true, pred, domains, k=10) < marker_overlap(true, true, domains, k=10)
    flat = marker_overlap(true, np.full_like(true, 0.1), domains, k=10)
    assert (flat.value, flat.reason) == (None, "the prediction does not vary over spots with a domain")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"scale": "log1p"}, "depth is divided out (cp10k-log1p), not on log1p"),
        ({"k": 40}, "more than 40 genes, found 40"),
    ],
)
def test_what_cannot_be_ranked_is_undefined(given, reason):
    true, domains = tissue()
    for metric in (marker_overlap, marker_domains):
        assert metric(true, true, domains, **given).value is None
        assert reason in metric(true, true, domains, **given).reason
    assert marker_domains(true, true, np.full(200, "")).value is None
