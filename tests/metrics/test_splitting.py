import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit, logit, polygamma

from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.metrics import Cut, count_split, gsc, pcc, ssc
from stbench.metrics.splitting import calibrated, lengthen, seed_of, thin

RAW, DEP = "log1p", "cp10k-log1p"


def cut_of(counts, xy, times=5):
    counts = csr_matrix(counts.astype(np.int32))
    return Cut(counts, np.asarray(counts.sum(axis=1)).ravel() * times, xy)


def smooth_rates(side=18, n_genes=30, seed=0, level=1.5):
    """Rates of genes in a tissue of three programmes, of varied depth, and the spots' positions."""
    generator = np.random.default_rng(seed)
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float)
    fields = np.stack([np.sin(xy @ generator.normal(0, 0.25, 2) + phase) for phase in generator.uniform(0, 6, 4)], 1)
    depth = 0.5 * generator.normal(size=(len(xy), 1))
    loads = generator.normal(0, 0.5, (4, n_genes)) * generator.uniform(0.2, 1.5, n_genes)
    return np.exp(level + generator.normal(0, 0.8, n_genes) + fields @ loads + depth), xy


def measure(rates, xy, generator):
    """A measurement of the tissue; the genes outside the panel have four times the counts of those in it."""
    counts = generator.poisson(rates)
    totals = counts.sum(axis=1) + generator.poisson(4 * rates.sum(axis=1))
    return Cut(csr_matrix(counts.astype(np.int32)), totals, xy)


def brute_force(rates, xy, scale, n=80):
    """The ceilings by what they mean: many replicates, their mean, and their agreement."""
    generator = np.random.default_rng(1)
    each = [measure(rates, xy, generator).on(scale) for _ in range(n)]
    mean = np.mean(each, axis=0)
    pairs = list(zip(each[:20:2], each[1:20:2], strict=True))
    return (
        np.mean([pcc(one, mean) for one in each]),
        np.mean([np.square(one - mean).mean() for one in each]),
        np.mean([gsc(*pair) for pair in pairs]),
        np.mean([ssc(*pair, xy) for pair in pairs]),
    )


def values(ceiling):
    return np.array([ceiling.pcc, ceiling.mse, ceiling.gsc, ceiling.ssc])


@pytest.mark.parametrize(
    ("scale", "allowed"),
    [(RAW, (0.01, 0.006, 0.025, 0.012)), (DEP, (0.06, 0.04, 0.04, 0.03))],  # undoubled halves miss the first by 0.012
)
def test_ceilings_are_those_of_many_replicates(scale, allowed):
    rates, xy = smooth_rates()
    generator = np.random.default_rng(3)
    found = np.mean([values(count_split(measure(rates, xy, generator), scale, splits=5)) for _ in range(6)], axis=0)
    assert (np.abs(found - brute_force(rates, xy, scale)) < allowed).all()


def test_the_steps_lie_on_either_side_where_depth_is_divided_out():
    rates, xy = smooth_rates()
    generator = np.random.default_rng(3)
    found = [count_split(measure(rates, xy, generator), DEP, splits=5) for _ in range(6)]
    true = brute_force(rates, xy, DEP)[0]
    assert np.mean([each.pcc for each in found]) < true < np.mean([each.pcc_spearman_brown for each in found])


@pytest.fixture(scope="module")
def lognormal():
    """Rates around 200 whose logarithm has sd 0.1: log1p of Poisson counts then has variance 1/rate around it."""
    generator = np.random.default_rng(0)
    xy = generator.uniform(0, 60, (4000, 2))
    return np.exp(np.log(200) + 0.1 * generator.normal(size=(4000, 4))), xy


def test_pcc_and_mse_of_many_counts_in_closed_form(lognormal):
    rates, xy = lognormal
    noise = np.exp(0.1**2 / 2) / 200  # mean of 1/rate
    ceiling = count_split(cut_of(np.random.default_rng(1).poisson(rates), xy), RAW)
    assert ceiling.pcc == pytest.approx(np.sqrt(0.1**2 / (0.1**2 + noise)), abs=0.01)
    assert ceiling.mse == pytest.approx(noise, rel=0.05)
    np.testing.assert_allclose(ceiling.pcc.per_gene, ceiling.pcc, atol=0.03)
    assert ceiling.pcc_spearman_brown == ceiling.pcc


def test_overdispersion_is_taken_for_expression(lognormal):
    rates, xy = lognormal
    generator, shape = np.random.default_rng(1), 100
    counts = generator.poisson(rates * generator.gamma(shape, 1 / shape, rates.shape))
    noise, more = np.exp(0.1**2 / 2) / 200, float(polygamma(1, shape))
    seen = np.sqrt((0.1**2 + more) / (0.1**2 + more + noise))
    assert count_split(cut_of(counts, xy), RAW).pcc == pytest.approx(seen, abs=0.01)
    assert seen > np.sqrt(0.1**2 / (0.1**2 + more + noise)) + 0.1  # the ceiling if it is called noise


def test_counts_without_expression_have_no_ceiling():
    xy = smooth_rates()[1]
    ceiling = count_split(cut_of(np.random.default_rng(0).poisson(5, (len(xy), 12)), xy), RAW)
    assert ceiling.pcc < 0.15
    assert abs(ceiling.ssc) < 0.6
    assert ceiling.mse > 0.95 * np.log1p(np.random.default_rng(1).poisson(5, 100_000)).var()


@pytest.mark.parametrize("scale", [RAW, DEP])
def test_order_of_spots_and_genes_does_not_matter(scale):
    rates, xy = smooth_rates()
    generator = np.random.default_rng(0)
    cut = cut_of(generator.poisson(rates), xy)
    spots, genes = generator.permutation(len(xy)), generator.permutation(rates.shape[1])
    shuffled = Cut(cut.counts[spots][:, genes], cut.totals[spots], xy[spots])
    np.testing.assert_allclose(
        values(count_split(shuffled, scale, splits=20)), values(count_split(cut, scale, splits=20)), atol=0.02
    )


def test_a_seed_gives_one_ceiling():
    rates, xy = smooth_rates(side=10, n_genes=8)
    cut = cut_of(np.random.default_rng(0).poisson(rates), xy)
    one, same, other = (count_split(cut, DEP, splits=2, seed=seed) for seed in (seed_of("A1"), seed_of("A1"), 4))
    np.testing.assert_array_equal(values(one), values(same))
    np.testing.assert_array_equal(one.pcc.per_gene, same.pcc.per_gene)
    assert (values(one) != values(other)).any()
    assert seed_of("A1") != seed_of("A2")


def test_genes_with_few_counts_share_a_ceiling_and_get_none_of_their_own():
    rates, xy = smooth_rates()
    rates[:, :10] *= 0.3 / rates[:, :10].mean(axis=0)
    ceiling = count_split(cut_of(np.random.default_rng(0).poisson(rates), xy), RAW)
    stated = ~np.isnan(ceiling.pcc.per_gene)
    assert not stated[:10].any()
    assert (~np.isnan(ceiling.mse.per_gene) == stated).all()
    shared = (30 * ceiling.pcc - ceiling.pcc.per_gene[stated].sum()) / (30 - stated.sum())
    assert 0 < shared < ceiling.pcc.per_gene[stated].min() + 0.2
    assert (ceiling.pcc.n_used, ceiling.pcc.n_undefined) == (30, 0)


def test_a_gene_without_counts_is_left_out():
    rates, xy = smooth_rates(side=12, n_genes=10)
    counts = np.random.default_rng(0).poisson(rates)
    without = count_split(cut_of(counts, xy), RAW)
    ceiling = count_split(cut_of(np.column_stack([counts, np.zeros(len(xy))]), xy), RAW)
    assert (ceiling.pcc.n_used, ceiling.pcc.n_undefined) == (10, 1)
    assert np.isnan(ceiling.pcc.per_gene[-1])
    np.testing.assert_allclose([ceiling.pcc, ceiling.gsc, ceiling.ssc], [without.pcc, without.gsc, without.ssc])
    assert ceiling.mse == pytest.approx(without.mse * 10 / 11)  # a constant gene is predicted without error


def test_a_slide_of_constant_genes_has_no_ceiling():
    xy = smooth_rates(side=5)[1]
    ceiling = count_split(cut_of(np.full((25, 4), 3), xy), RAW, splits=2)
    assert ceiling.pcc.value is None
    assert "constant" in ceiling.pcc.reason
    assert ceiling.mse == 0


def test_structure_needs_three_genes_that_vary():
    rates, xy = smooth_rates(side=8, n_genes=2)
    ceiling = count_split(cut_of(np.random.default_rng(0).poisson(rates), xy), RAW, splits=2)
    assert ceiling.pcc.value is not None
    assert ceiling.gsc.value is None
    assert "fewer than 3 genes" in ceiling.ssc.reason


@pytest.mark.parametrize("scale", [RAW, DEP])
def test_spots_without_counts_survive(scale):
    rates, xy = smooth_rates(side=10, n_genes=6)
    rates[:3] = 0
    assert np.isfinite(values(count_split(cut_of(np.random.default_rng(0).poisson(rates), xy), scale, splits=2))).all()


def test_halves_add_up_and_take_half():
    rates, xy = smooth_rates(level=3)
    cut = cut_of(np.random.default_rng(0).poisson(rates), xy)
    first, second = thin(cut, np.random.default_rng(1))
    np.testing.assert_array_equal((first.counts + second.counts).toarray(), cut.counts.toarray())
    np.testing.assert_array_equal(first.totals + second.totals, cut.totals)
    assert first.counts.sum() / cut.counts.sum() == pytest.approx(0.5, abs=0.01)
    deviation = (first.counts.toarray() - cut.counts.toarray() / 2) / np.sqrt(cut.counts.toarray() / 4 + 1e-9)
    assert deviation.std() == pytest.approx(1, abs=0.03)


def test_a_step_is_one_on_the_logit_scale():
    agreement = np.array([0.05, 0.4, 0.9])
    np.testing.assert_allclose(lengthen(agreement, 1), 2 * agreement / (1 + agreement))
    np.testing.assert_allclose(lengthen(agreement, 0.6), expit(logit(agreement) + 0.6 * np.log(2)))
    assert lengthen(-0.2, 1) == pytest.approx(-0.5)
    assert calibrated(0.5, expit(-0.7 * np.log(2)), 0.3) == pytest.approx(0.7)
    assert (calibrated(0.5, 0.49, 0.3), calibrated(0.5, 0.1, 0.3)) == (0.3, 1.2)
    assert (calibrated(0.5, -0.1, 0.0), calibrated(1.0, 1.0, 0.0)) == (1.2, 0.0)


def test_slides_that_have_no_ceiling():
    rates, xy = smooth_rates(side=4, n_genes=5)
    counts = csr_matrix(np.random.default_rng(0).poisson(rates).astype(np.int32))
    totals = np.asarray(counts.sum(axis=1)).ravel()
    for arguments, said in [
        ((counts, None, xy), "expected total counts of every spot for a ceiling, found none"),
        ((counts, np.where(np.arange(16) == 2, np.nan, totals), xy), "expected finite total counts of 16 spots"),
        ((counts, totals[1:], xy), "expected finite total counts of 16 spots"),
        ((counts, totals - 2, xy), "at spot 0, where the panel alone has"),
        ((counts * 0.5, totals, xy), "expected raw counts"),
        ((counts * -1, totals, xy), "expected raw counts"),
        ((counts, totals, xy[1:]), "each with x and y"),
        ((counts[:2], totals[:2], xy[:2]), "at least 3 spots"),
    ]:
        with pytest.raises(DataError, match=said) as caught:
            Cut(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingError, match="at least 1 split"):
        count_split(Cut(counts, totals, xy), RAW, splits=0)
    with pytest.raises(UnknownNameError, match="normalization"):
        count_split(Cut(counts, totals, xy), "log1")
