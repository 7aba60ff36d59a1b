"""Reference rows, and the figures that real slides give."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stbench.data.opening import open_folder
from stbench.data.panel import candidate_genes, hmhvg
from stbench.metrics import Cut, domain_ari, domain_nmi, marker_overlap, reference_rows
from stbench.metrics.references import smoothed
from stbench.metrics.splitting import thin

DEP = "cp10k-log1p"
ROWS = ["measured", "smoothed", "half", "coordinates", "depth"]


def bands(side=20, n_genes=40, seed=0):
    """A slide of four bands, each with its own genes and depth."""
    generator = np.random.default_rng(seed)
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) * 100.0
    codes = (4 * xy[:, 0] / (100 * side)).astype(int)
    rates = np.exp(0.5 + 0.7 * generator.normal(size=(4, n_genes))) * np.array([1, 2, 4, 8])[:, None]
    counts = generator.poisson(rates[codes])
    domains = np.where(generator.random(len(xy)) < 0.1, "", np.array(list("abcd"))[codes])
    return Cut(csr_matrix(counts.astype(np.int32)), counts.sum(axis=1) * 3, xy), domains


def test_rows_of_a_slide_in_bands():
    cut, domains = bands()
    rows = reference_rows(cut, domains, DEP)
    assert list(rows) == ROWS
    assert rows["measured"]["marker-overlap-20"].value is None or rows["measured"]["marker-overlap-20"] == 1
    truth = cut.on(DEP)
    assert rows["measured"]["domain-ari"] == domain_ari(truth, truth, domains)
    assert rows["smoothed"]["domain-nmi"] == domain_nmi(truth, smoothed(truth, cut.xy), domains)
    assert rows["depth"]["domain-ari"] > 0.9  # bands differ in depth alone by a factor of two
    assert set(rows["coordinates"]) == {"domain-ari", "domain-nmi"}


def test_rows_are_undefined_with_a_reason():
    cut, domains = bands()
    for given in (np.full(400, ""), np.where(np.arange(400) < 9, domains, "")):
        for row in reference_rows(cut, given, DEP).values():
            assert all(score.value is None and score.reason for score in row.values())
    assert "depth is divided out" in reference_rows(cut, domains)["half"]["marker-overlap-50"].reason


def test_a_ring_is_that_of_the_array():
    y, x = np.mgrid[:5, :5]
    impulse = np.zeros((25, 1))
    impulse[12] = 1
    square = smoothed(impulse, np.stack([x, y], -1).reshape(-1, 2))
    hexagonal = smoothed(impulse, np.stack([x + y % 2 / 2, y * np.sqrt(0.75)], -1).reshape(-1, 2))
    assert [(each > 0).sum() for each in (square, hexagonal)] == [9, 7]
    assert (square[12, 0], hexagonal[12, 0]) == (pytest.approx(1 / 9), pytest.approx(1 / 7))


def cut_of(slide, genes):
    return Cut(csr_matrix(slide.adata[:, genes].X), slide.total_counts, slide.xy)


def panel(slide, among):
    """The 200 genes of highest mean and variance of a slide."""
    genes = candidate_genes(among)
    counts = slide.adata[:, genes].X.toarray().astype(float)
    return [genes[i] for i in hmhvg(counts.mean(0), counts.std(0), 200)]


@pytest.fixture(scope="module")
def dlpfc(real_data):
    cohort = open_folder(real_data / "dlpfc", require_image=False)
    return cohort.load("151673"), cohort.load("151674")


@pytest.mark.real
def test_markers_of_151673_are_those_measured_before(dlpfc):
    """Evaluated independently: smoothed .84 / .88, halves .81 / .76, half .86 / .86, neighbouring slide .72 / .76."""
    slide, other = dlpfc
    genes = panel(slide, set(slide.genes) & set(other.genes))
    cut, next_cut = cut_of(slide, genes), cut_of(other, genes)
    truth, domains = cut.on(DEP), slide.domains
    one, two = (half.on(DEP, 2) for half in thin(cut, np.random.default_rng(1)))
    near = np.argmin(np.square(slide.array_xy[:, None] - other.array_xy[None]).sum(-1), axis=1)
    pairs = [(truth, smoothed(truth, cut.xy)), (one, two), (truth, one), (truth, next_cut.on(DEP)[near])]
    found = [[float(marker_overlap(*pair, domains, k=k)) for k in (20, 50)] for pair in pairs]
    np.testing.assert_allclose(found, [(0.84, 0.88), (0.81, 0.76), (0.86, 0.86), (0.72, 0.76)], atol=0.05)


@pytest.mark.real
@pytest.mark.slow
def test_domains_of_151673(dlpfc):
    """Positions know more of the layers than counts do, and a smoothed slide more than a measured one."""
    slide, _ = dlpfc
    rows = reference_rows(cut_of(slide, panel(slide, slide.genes)), slide.domains)
    ari = {name: float(row["domain-ari"]) for name, row in rows.items()}
    nmi = {name: float(row["domain-nmi"]) for name, row in rows.items()}
    assert (ari["coordinates"], nmi["coordinates"]) == (pytest.approx(0.21, abs=0.03), pytest.approx(0.36, abs=0.01))
    assert ari["depth"] < ari["measured"] < ari["smoothed"] < ari["coordinates"]
    assert ari["half"] == pytest.approx(ari["measured"], abs=0.02)


@pytest.mark.real
def test_domains_of_her2st(real_data):
    """B1 is SPA148: .31 / .36 of its 269 labelled spots; H1 is not steady."""
    cohort = open_folder(real_data / "her2st", require_image=False)
    b1, h1 = cohort.load("B1"), cohort.load("H1")
    measured = reference_rows(cut_of(b1, panel(b1, b1.genes)), b1.domains)["measured"]
    assert measured["domain-ari"].n_used == 269
    np.testing.assert_allclose([measured["domain-ari"], measured["domain-nmi"]], [0.31, 0.36], atol=0.03)
    assert reference_rows(cut_of(h1, panel(h1, h1.genes)), h1.domains, DEP)["measured"]["domain-ari"].value is None
