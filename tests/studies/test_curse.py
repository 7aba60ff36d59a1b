"""The gene dimension curse, against closed forms and on counts whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.stats import linregress, ttest_1samp

from stbench.catalogue import DatasetCard
from stbench.data.opening import open_dataset
from stbench.data.slide import SlideRef
from stbench.errors import DataError, SettingError
from stbench.methods.nn.correlation import spot_correlation
from stbench.studies.curse import gaussian
from stbench.studies.curse.cohort import choose_slides, measure_cohort
from stbench.studies.curse.edges import edge_table
from stbench.studies.curse.estimators import (
    Curve,
    bend,
    edge_values,
    isometric,
    pair_products,
    pearson,
    sharpness,
    slope,
    with_noise,
)
from stbench.studies.curse.page import page, slopes
from stbench.studies.curse.picture import _power
from stbench.studies.curse.settings import CurseSettings, parse_sizes
from stbench.studies.curse.study import Study, measure, numbers, write

from ..evaluation.conftest import make_cohort, make_slide

TRUTH = gaussian.true_correlation(5)


def moments(x):
    return pair_products(x).mean(axis=0)[None], x.mean(axis=1)[None]


def slide_of(counts, id_="s", patient="p"):
    """A slide with these counts; positions are those of a square grid."""
    genes = [f"G{i:04d}" for i in range(counts.shape[1])]
    slide = make_slide(id_, patient, genes)
    adata = slide.adata.copy()
    adata.X = csr_matrix(counts.astype(np.int32))
    return replace(slide, adata=adata)


def cohort_of(rate, n_genes=240, patients=("a", "b", "c", "d")):
    generator = np.random.default_rng(0)
    return make_cohort([slide_of(generator.poisson(rate, (16, n_genes)), f"s-{name}", name) for name in patients])


# correlations


def test_pearson_from_moments_is_pearson():
    x = np.random.default_rng(0).normal(size=(5, 30)) + 2
    edges, constant = pearson(*moments(x))
    np.testing.assert_allclose(edges[0], np.corrcoef(x)[np.triu_indices(5, 1)], rtol=1e-10)
    assert not constant.any()


def test_a_constant_spot_has_correlation_0():
    x = np.random.default_rng(0).normal(size=(4, 9))
    x[1] = 3.7
    edges, constant = pearson(*moments(x))
    i, j = np.triu_indices(4, 1)
    np.testing.assert_array_equal(edges[0] == 0, (i == 1) | (j == 1))
    assert constant[0].tolist() == [False, True, False, False]


@pytest.mark.parametrize("by_sum", [False, True])
def test_edges_are_those_of_the_methods(by_sum):
    x = np.random.default_rng(0).poisson(2.0, (6, 40)).astype(float)
    theirs = spot_correlation(torch.from_numpy(x), by_sum=by_sum).numpy()
    np.testing.assert_allclose(edge_values(x, by_sum=by_sum), theirs[np.triu_indices(6, 1)], rtol=1e-12)


@pytest.mark.parametrize("diagonal", [0, 1])
def test_isometric_edges_have_the_frobenius_norm(diagonal):
    matrix = np.random.default_rng(0).normal(size=(5, 5))
    matrix += matrix.T
    if diagonal:
        np.fill_diagonal(matrix, 0)
    edges = isometric(matrix[np.triu_indices(5, diagonal)], 5)
    assert np.linalg.norm(edges) == pytest.approx(np.linalg.norm(matrix))


# sharpness and exponents


def test_sharpness_brackets_the_inverse_of_the_smallest_variance():
    variances = np.array([0.25, 1.0, 4.0])
    edges = np.random.default_rng(0).normal(size=(4000, 3)) * np.sqrt(variances)
    held_out, plug_in = sharpness(edges + 7)
    assert held_out == pytest.approx(4, rel=0.1)
    assert plug_in == pytest.approx(4, rel=0.1)


def test_of_few_panels_held_out_sharpness_errs_low_and_plug_in_high():
    found = [sharpness(np.random.default_rng(seed).normal(size=(60, 15))) for seed in range(20)]
    held_out, plug_in = np.mean(found, axis=0)
    assert 0.8 < held_out < 1.2  # every direction is as flat as any other: nothing to err about
    assert plug_in > 2
    scales = np.geomspace(1, 10, 15)
    unequal = [sharpness(np.random.default_rng(seed).normal(size=(60, 15)) * scales)[0] for seed in range(20)]
    assert np.mean(unequal) < 1


def test_a_power_law_has_its_exponent_and_no_uncertainty():
    fit = slope((10, 30, 200), 5.0 * np.array([[10.0, 30.0, 200.0]] * 3) ** -1.5, "law")
    assert (fit.value, fit.low, fit.high) == pytest.approx((-1.5, -1.5, -1.5))


def test_exponents_agree_with_scipy():
    genes = (5, 20, 100, 300)
    values = np.exp(np.random.default_rng(0).normal(size=(6, 4)))
    slopes = [linregress(np.log(genes), np.log(row)).slope for row in values]
    ends = ttest_1samp(slopes, 0).confidence_interval(0.95)
    fit = slope(genes, values, "noise")
    assert (fit.value, fit.low, fit.high) == pytest.approx((np.mean(slopes), ends.low, ends.high))


GENES = (10, 50, 100, 400)


def curve(logs, noise=0.0, units=8):
    """Curves with logarithms of a unit around ``logs``, a level of its own per unit."""
    generator = np.random.default_rng(0)
    rows = logs + generator.normal(size=(units, 1)) + noise * generator.normal(size=(units, len(GENES)))
    return Curve("x", GENES, np.exp(rows), -1.0)


def test_local_slopes_are_those_between_neighbours():
    logs = np.log(GENES)
    bent = np.concatenate([[0.0], np.cumsum(np.diff(logs) * [-0.3, -0.7, -1.5])])
    found = curve(bent, noise=0.02)
    local = found.local_slopes
    assert [fit.value for fit in local] == pytest.approx([-0.3, -0.7, -1.5], abs=0.05)
    ends = slope(GENES[1:3], found.values[:, 1:3], "x")
    assert (local[1].low, local[1].high) == (ends.low, ends.high)
    assert found.bend.seen
    assert -1.5 < found.slope.value < -0.3


def test_a_power_law_does_not_bend_however_exact_or_noisy():
    logs = -np.log(GENES)
    assert not curve(logs).bend.seen
    assert not curve(logs, noise=0.3).bend.seen
    assert not bend((10, 50), np.array([[1.0, 2.0], [1.0, 3.0]])).seen


def test_noise_seldom_bends_a_power_law():
    generator = np.random.default_rng(1)
    rows = -np.log(GENES) + 0.1 * generator.normal(size=(2000, 6, 4))
    assert 0.01 < np.mean([bend(GENES, np.exp(one)).seen for one in rows]) < 0.06


def test_the_smallest_bend_excluded_is_the_far_end_of_the_widest_interval():
    found = curve(-np.log(GENES), 0.05)
    steps = np.diff(np.log(found.values), axis=1) / np.diff(np.log(GENES))
    apart = np.stack([steps[:, i] - steps[:, j] for i, j in ((0, 1), (0, 2), (1, 2))], axis=1)
    ends = ttest_1samp(apart, 0).confidence_interval(1 - 0.05 / 3)
    assert found.bend.excluded == pytest.approx(np.maximum(-ends.low, ends.high).max())
    assert not found.bend.seen


def test_a_bend_is_lost_in_noise():
    bent = np.concatenate([[0.0], np.cumsum(np.diff(np.log(GENES)) * [-0.95, -1.0, -1.05])])
    assert curve(bent, noise=0.001).bend.seen
    assert not curve(bent, noise=0.3).bend.seen


def test_the_table_prints_local_slopes_and_says_what_bends():
    straight, bent = curve(-np.log(GENES), 0.01), curve(-np.square(np.log(GENES)), 0.01)
    table = slopes([straight, bent])
    assert table.head == ["quantity", "slope", "theory", "bends", "10 to 50", "50 to 100", "100 to 400"]
    assert [row[3] for row in table.rows] == [f"< {straight.bend.excluded:.2g}", "yes"]
    assert [float(cell.split()[0]) for cell in table.rows[1][4:]] == pytest.approx(
        [fit.value for fit in bent.local_slopes], abs=1e-3
    )


def test_the_figure_calls_the_slope_of_a_bent_curve_no_power():
    assert "propto" in _power(curve(-np.log(GENES), 0.01))
    said = _power(curve(np.concatenate([[0.0], np.cumsum(np.diff(np.log(GENES)) * [-0.3, -0.7, -1.5])])))
    assert said == "(slope −1.50 to −0.30)"


def test_an_exponent_of_nothing_is_refused():
    with pytest.raises(DataError, match="variance: expected edges that vary between panels of 20 genes"):
        slope((10, 20, 30), np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]), "variance")


def test_added_noise_bounds_the_sharpness():
    curve = with_noise(Curve("sharpness", (10, 1000), np.array([[10.0, 1e9]])), 0.1)
    np.testing.assert_allclose(curve.values, [[10 / 1.1, 100]], rtol=1e-6)


# closed forms of the Gaussian model


def gram_covariance(truth):
    """Covariance of the entries of y y^T for one gene (Isserlis), isometric."""
    i, j = np.triu_indices(len(truth))
    cov = truth[np.ix_(i, i)] * truth[np.ix_(j, j)] + truth[np.ix_(i, j)] * truth[np.ix_(j, i)]
    scale = np.where(i == j, 1, np.sqrt(2))
    return cov * scale[:, None] * scale


def test_gram_closed_forms_are_those_of_its_covariance():
    covariance = gram_covariance(TRUTH) / 40
    assert gaussian.gram_error(TRUTH, 40) == pytest.approx(np.trace(covariance))
    assert gaussian.gram_sharpness(TRUTH, 40) == pytest.approx(1 / np.linalg.eigvalsh(covariance)[0])


def test_the_variance_of_a_correlation():
    rho = TRUTH[np.triu_indices(5, 1)]
    np.testing.assert_allclose(np.diag(gaussian.pearson_covariance(TRUTH)), (1 - rho**2) ** 2)


def test_pearson_closed_forms_hold_on_large_panels():
    sample = gaussian.sample_moments(TRUTH, 300, 6000, np.random.default_rng(0))
    edges = pearson(*sample)[0]
    covariance = np.cov(edges.T) * 299
    np.testing.assert_allclose(covariance, gaussian.pearson_covariance(TRUTH), atol=0.06)
    deviation = isometric(edges - TRUTH[np.triu_indices(5, 1)], 5)
    assert np.square(deviation).sum(axis=1).mean() == pytest.approx(gaussian.pearson_error(TRUTH, 300), rel=0.03)
    assert np.mean(sharpness(deviation)) == pytest.approx(gaussian.pearson_sharpness(TRUTH, 300), rel=0.05)


def test_simulated_genes_follow_the_theory():
    settings = CurseSettings(genes=(20, 80, 320), spots=4, repeats=6)
    result = gaussian.measure_gaussian(settings)
    for key in ("gram-error", "gram-sharpness", "gram-plug-in"):
        curve = result.curves[key]
        assert curve.slope.value == pytest.approx(curve.theory, abs=0.08)
    for key in ("gram-error", "pearson-error", "pair-sd"):
        np.testing.assert_allclose(result.curves[key].mean, result.exact[key], rtol=0.08)
    held_out, plug_in = (result.curves[key].mean for key in ("gram-sharpness", "gram-plug-in"))
    np.testing.assert_array_less(held_out, result.exact["gram-sharpness"])
    np.testing.assert_array_less(result.exact["gram-sharpness"], plug_in)
    assert result.pair.shape == (3, 6 * settings.panels)


def test_a_size_is_measured_alike_beside_any_others():
    wide, narrow = (
        gaussian.measure_gaussian(CurseSettings(genes=genes, spots=3, repeats=2)).curves["gram-error"]
        for genes in ((5, 10, 20, 40), (5, 20, 40))
    )
    np.testing.assert_array_equal(wide.values[:, [0, 2, 3]], narrow.values)


# a cohort


def test_independent_genes_of_one_distribution_scatter_as_gaussian_ones():
    settings = CurseSettings(genes=(20, 40, 80), spots=4, repeats=4)
    result = measure_cohort(cohort_of(200), DatasetCard(name="even", title="Even"), settings)
    np.testing.assert_allclose(result.curves["random-inflation"].mean, 1, atol=0.15)
    assert result.curves["random-variance"].slope.value == pytest.approx(-1, abs=0.12)
    assert result.curves["top-variance"].slope.value == pytest.approx(-1, abs=0.2)
    assert result.curves["random-sharpness"].slope.value == pytest.approx(1, abs=0.25)


def test_genes_of_unlike_levels_scatter_more_and_break_the_exponent_along_the_ranking():
    settings = CurseSettings(genes=(10, 30, 100), spots=4, repeats=4)
    result = measure_cohort(cohort_of(np.geomspace(0.2, 2000, 240)), DatasetCard(name="steep", title="S"), settings)
    even = measure_cohort(cohort_of(200), DatasetCard(name="even", title="Even"), settings)
    ranked, random = (result.curves[f"{order}-variance"] for order in ("top", "random"))
    assert abs(ranked.slope.value + 1) > 3 * abs(random.slope.value + 1)
    assert even.curves["top-variance"].slope.value == pytest.approx(-1, abs=0.2)


def test_at_the_largest_size_both_orders_draw_from_one_pool():
    result = measure_cohort(
        cohort_of(np.geomspace(1, 100, 100), 100),
        DatasetCard(name="x", title="X"),
        CurseSettings(genes=(10, 20, 50), spots=4, repeats=4),
    )
    assert result.pool == 100
    top, random = (result.curves[f"{order}-variance"].mean for order in ("top", "random"))
    assert top[-1] == pytest.approx(random[-1], rel=0.1)
    assert top[0] != pytest.approx(random[0], rel=0.1)


def test_intervals_count_patients_where_four_are_known():
    settings = CurseSettings(genes=(3, 4, 6), spots=4, repeats=3)
    card = DatasetCard(name="x", title="X")
    by_patient = measure_cohort(cohort_of(9, patients=("a", "b", "c", "d")), card, settings)
    assert (by_patient.unit, by_patient.curves["drift"].values.shape) == ("patient", (4, 3))
    by_repeat = measure_cohort(cohort_of(9, patients=("a", "b", "c")), card, settings)
    assert (by_repeat.unit, by_repeat.curves["drift"].values.shape) == ("repeat", (3, 3))


def test_patients_take_turns():
    refs = [SlideRef(f"{patient}{i}", patient) for patient in "abc" for i in range(3)]
    assert [ref.id for ref in choose_slides(refs, 5)] == ["a0", "a1", "b0", "b1", "c0"]
    assert choose_slides(refs, 50) == refs


def test_usual_sizes_that_do_not_fit_are_left_out():
    result = measure_cohort(cohort_of(9, 210), DatasetCard(name="x", title="X"), CurseSettings(spots=3, repeats=2))
    assert (result.sizes, result.left_out) == ((10, 50, 100), (200, 400, 800))


@pytest.mark.parametrize(
    ("genes", "reason"),
    [
        ((3, 6, 7), "expected at most 6 .* out of the 12 genes .* found 7"),
        (None, "expected 3 sizes up to 6"),
    ],
)
def test_panels_too_large_for_the_cohort(slides, card, genes, reason):
    with pytest.raises(SettingError, match=reason):
        measure_cohort(make_cohort(slides), card, CurseSettings(genes=genes, spots=3))


def test_too_few_spots(slides, card):
    with pytest.raises(DataError, match=r"slide P0-s0: expected at least 17 spots .* found 16 of 16"):
        measure_cohort(make_cohort(slides), card, CurseSettings(genes=(3, 4, 6), spots=17))


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (np.full((16, 12), 4), "3 spots whose expression varies over its 3 most expressed genes, found 0"),
        (np.zeros((16, 12)), "3 spots whose expression varies over its 3 most expressed genes, found 0"),
        (np.tile(np.arange(12), (16, 1)), "expected spots that differ"),
    ],
)
def test_constant_expression(card, counts, reason):
    with pytest.raises(DataError, match=f"slide s: expected.*{reason}" if "differ" not in reason else reason):
        measure_cohort(make_cohort([slide_of(counts)]), card, CurseSettings(genes=(3, 4, 6), spots=3))


# settings


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"genes": (2, 10, 20)}, "at least 3, found 2; a correlation of two spots over one gene is undefined"),
        ({"genes": (10, 20)}, "at least 3 different sizes to fit an exponent, found 10,20"),
        ({"genes": (10, 10, 20, 30)}, "different sizes"),
        ({"spots": 2}, "3 to 40 .* found 2"),
        ({"spots": 41}, "3 to 40 .* found 41"),
        ({"repeats": 1}, "at least 2 for an interval, found 1"),
        ({"seed": -1}, "0 or more, found -1"),
        ({"simulate": ("n_genes=30",)}, "only with --dataset simulated"),
    ],
)
def test_settings_out_of_range(wrong, reason):
    with pytest.raises(SettingError, match=reason):
        CurseSettings(**wrong)


def test_sizes_are_read_in_any_order():
    assert parse_sizes("100,10, 50") == (10, 50, 100)
    with pytest.raises(SettingError, match="expected panel sizes such as 10,50,100, found '10;20'"):
        parse_sizes("10;20")


# the study


def tiny_study(slides, card, seed=0):
    settings = CurseSettings(genes=(3, 4, 6), spots=3, repeats=2, seed=seed, dataset="tiny")
    return Study(settings, gaussian.measure_gaussian(settings), measure_cohort(make_cohort(slides), card, settings))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_files(slides, card, tmp_path):
    first, second = (write(tiny_study(slides, card), tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["tiny.md", "tiny.json", "tiny.png", "tiny.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    other = numbers(tiny_study(slides, card, seed=1))
    assert other["gaussian"]["curves"] != numbers(tiny_study(slides, card))["gaussian"]["curves"]
    assert other["cohort"]["curves"] != numbers(tiny_study(slides, card))["cohort"]["curves"]


def sections(text):
    """Headings of level two, and what lies below each."""
    return {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}


@pytest.mark.parametrize(
    ("marks", "heading", "caveat"),
    [
        ({}, "tiny: real counts", None),
        ({"simulated": True}, "tiny: simulated counts", "The counts of tiny are simulated"),
        ({"semi_synthetic": True}, "tiny: semi-synthetic cohort, real counts", "tiny is semi-synthetic"),
    ],
)
def test_the_page_says_what_kind_of_counts_and_keeps_tables_apart(slides, card, marks, heading, caveat):
    study = tiny_study(slides, card.model_copy(update=marks))
    text = page(study.settings, study.gaussian, study.cohort, figure="tiny.png")
    parts = sections(text)
    assert list(parts) == ["Simulated Gaussian genes", heading, "What this is not", "To repeat"]
    assert "Gram" in parts["Simulated Gaussian genes"]
    assert "| error of the Gram" not in parts[heading]
    assert "random genes" not in parts["Simulated Gaussian genes"]
    assert caveat is None or caveat in parts["What this is not"]
    assert study.settings.command() in parts["To repeat"]


def test_without_a_cohort():
    settings = CurseSettings(genes=(3, 4, 6), spots=3, repeats=2)
    study = measure(settings)
    assert (study.cohort, study.name) == (None, "gaussian")
    text = page(settings, study.gaussian, None, figure="gaussian.png")
    assert list(sections(text)) == ["Simulated Gaussian genes", "What this is not", "To repeat"]
    assert "cohort" not in numbers(study)


@pytest.mark.real
def test_released_edges_of_a_real_section_are_nearly_constant(real_data):
    """Section B1, as measured by an independent script on log2 counts."""
    cohort, _ = open_dataset("her2st", real_data, require_image=False)
    table = edge_table([cohort.load("B1")], (10, 50, 200, 800), seed=0)
    expected = [
        (0.9968, 3.7e-3, 0.958, 0.272, 0.413, 0.27),
        (0.99981, 2.0e-4, 0.998, 0.255, 0.222, 0.34),
        (0.99998, 2.0e-5, 0.9999, 0.318, 0.141, 0.65),
        (0.999995, 2.6e-5, 0.9997, 0.315, 0.116, 0.31),
    ]
    half_a_digit = [[5e-5, 5e-5, 5e-4, 5e-4, 5e-4, 5e-3]] + [[5e-6, 5e-6, 5e-4, 5e-4, 5e-4, 5e-3]] * 3
    assert (np.abs(table.facts[0] - expected) <= 1.05 * np.array(half_a_digit)).all()
    np.testing.assert_allclose(table.facts[0][:, 1], np.array(expected)[:, 1], rtol=0.03)
