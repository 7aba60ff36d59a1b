"""Features made from expression: how much they carry, and for whom."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pydantic import ValidationError
from scipy.sparse import csr_matrix

from stbench.data.cohort import Cohort
from stbench.data.semisynthetic import SemisyntheticSettings, best_from_own_spot, open_semisynthetic
from stbench.data.semisynthetic.cohort import make_slides
from stbench.data.semisynthetic.features import RandomNetwork, _skew_rotation, bands, noisy_expression, spatial_modes
from stbench.data.slide import Slide, SlideRef
from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.controls.ridge import Ridge
from stbench.metrics import morans_i, spatial_weights
from stbench.reporting import Silent

from .layouts import write_her2st

SMALL = SemisyntheticSettings(n_genes=5, dim=6)
SIDE = 13  # odd squared minus one is even: every mode finds a partner


def array(side=SIDE):
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float) * 200


def expression(seed=0, side=SIDE, n_genes=5):
    """log1p of counts that follow a smooth depth and a gradient."""
    rng = np.random.default_rng(seed)
    xy = array(side) / 200 / side
    wave = np.sin(6 * xy @ rng.normal(size=2) + rng.uniform(0, 6))[:, None]
    return np.log1p(rng.poisson(np.exp(1.5 + wave * rng.uniform(0.3, 1, n_genes) + xy[:, :1])))


def slide(id_, seed, n_genes=7, side=SIDE):
    counts = np.rint(np.expm1(expression(seed, side, n_genes))).astype(np.int32)
    adata = AnnData(
        csr_matrix(counts),
        obs=pd.DataFrame({"total_counts": counts.sum(axis=1) + 3.0}, index=[f"s{i}" for i in range(len(counts))]),
        var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)]),
        obsm={"spatial": array(side).astype(np.float32), "array": array(side).astype(np.float32) / 200},
    )
    return Slide(id_, id_[0], adata, um_per_px=1.0, notes=("a note",))


@pytest.fixture(scope="module")
def base_slides():
    return [slide(f"{patient}{section}", 10 * i + section) for i, patient in enumerate("ABC") for section in (1, 2)]


def r_squared(x, y):
    """Share of the variance of y that a line in the columns of x explains."""
    x, y = np.column_stack([x, np.ones(len(y))]), y - y.mean()
    return 1 - np.square(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]).sum() / np.square(y).sum()


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_the_share_is_exact_for_every_gene_and_sum_of_genes(share):
    y = expression()
    t = noisy_expression(y, array(), SMALL.model_copy(update={"share": share}), "A1")
    weights = np.random.default_rng(1).normal(size=(5, 3))
    for truth, noisy in ((y, t), (y @ weights, t @ weights)):
        found = [r_squared(a[:, None], b) for a, b in zip(noisy.T, truth.T, strict=True)]
        np.testing.assert_allclose(found, share, atol=1e-9)
    np.testing.assert_allclose(t.var(axis=0), y.var(axis=0))
    np.testing.assert_allclose(t.mean(axis=0), np.sqrt(share) * y.mean(axis=0))


def test_an_odd_mode_costs_little():
    y = expression(side=12)
    t = noisy_expression(y, array(12), SMALL, "A1")
    found = [r_squared(a[:, None], b) for a, b in zip(t.T, y.T, strict=True)]
    np.testing.assert_allclose(found, 0.4, atol=0.02)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0.0), (1.0, 1.0)])
def test_nothing_and_everything(share, kept):
    y = expression()
    t = noisy_expression(y, array(), SMALL.model_copy(update={"share": share}), "A1")
    np.testing.assert_allclose([r_squared(a[:, None], b) for a, b in zip(t.T, y.T, strict=True)], kept, atol=1e-9)


def test_noise_is_as_smooth_as_expression():
    y, nothing = expression(), SMALL.model_copy(update={"share": 0.0})
    weights = spatial_weights(array())
    found = [morans_i(noisy_expression(y, array(), nothing, f"A{i}"), weights).mean() for i in range(20)]
    assert morans_i(y, weights).mean() > 0.5  # white noise has 0
    assert np.mean(found) == pytest.approx(morans_i(y, weights).mean(), abs=0.08)


def around(values, xy):
    """Mean over the 8 nearest other spots."""
    nearest = np.argsort(np.square(xy[:, None] - xy[None]).sum(axis=-1), axis=1, kind="stable")[:, 1:9]
    return values[nearest].mean(axis=1)


def test_neighbours_tell_nothing_more():
    own, both, white = [], [], []
    for seed in range(20):
        y = expression(seed)
        t = noisy_expression(y, array(), SMALL, f"A{seed}")
        loose = np.sqrt(0.4) * y + np.sqrt(0.6) * y.std(axis=0) * np.random.default_rng(seed).normal(size=y.shape)
        own.append(r_squared(t[:, :1], y[:, 0]))
        both.append(r_squared(np.column_stack([t, around(t, array())]), y[:, 0]))
        white.append(r_squared(np.column_stack([loose, around(loose, array())]), y[:, 0]))
    by_chance = 9 / len(array())  # nine more columns explain this much of anything
    assert np.mean(both) - np.mean(own) < 0.03 + by_chance
    assert np.mean(white) - np.mean(own) > 0.1 + by_chance


def test_modes_are_orthonormal_without_mean_and_from_smooth_to_rough():
    modes = spatial_modes(array())
    np.testing.assert_allclose(modes.T @ modes, np.eye(SIDE**2 - 1), atol=1e-9)
    np.testing.assert_allclose(modes.sum(axis=0), 0, atol=1e-9)
    smoothness = morans_i(modes, spatial_weights(array()))
    assert smoothness[0] > 0.7
    assert smoothness[:8].mean() > smoothness[8:16].mean() > smoothness[-50:].mean()
    assert [band.shape[1] for band in bands(modes)] == [8, 8, 16, 32, 104]


def test_the_basis_of_a_band_does_not_matter():
    rng = np.random.default_rng(0)
    gaussian, turn = rng.normal(size=(6, 6)), np.linalg.qr(rng.normal(size=(6, 6)))[0]
    rotation = _skew_rotation(gaussian)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(rotation, -rotation.T, atol=1e-12)
    np.testing.assert_allclose(_skew_rotation(turn.T @ gaussian @ turn), turn.T @ rotation @ turn, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_spots(n):
    y = expression()[:n]
    assert np.isfinite(noisy_expression(y, array()[:n], SMALL, "A1")).all()


def test_the_network_loses_nothing_and_is_not_linear():
    settings = SemisyntheticSettings(n_genes=5, dim=12)
    network = RandomNetwork(settings, np.arange(5.0), np.full(5, 2.0))
    inputs = np.random.default_rng(0).normal(size=(400, 5)) * 2 + np.arange(5)
    np.testing.assert_allclose(network.inverse(network(inputs)), inputs, atol=1e-9)
    bent = np.mean([r_squared(inputs, column) for column in network(inputs).T])
    straight = RandomNetwork(settings.model_copy(update={"slope": 1.0}), np.arange(5.0), np.full(5, 2.0))(inputs)
    assert 0.5 < bent < 0.95
    assert np.mean([r_squared(inputs, column) for column in straight.T]) == pytest.approx(1)


def test_slides_keep_their_counts_and_gain_features(base_slides):
    made = make_slides(base_slides, SMALL)
    for before, after in zip(base_slides, made, strict=True):
        assert set(after.genes) < set(before.genes)
        np.testing.assert_array_equal(after.counts.toarray(), before.adata[:, after.genes].X.toarray())
        np.testing.assert_array_equal(after.total_counts, before.total_counts)
        assert after.features.shape == (before.n_spots, 6)
        assert after.image is None
        assert before.features is None


def features(slides, **changes):
    made = make_slides(slides, SMALL.model_copy(update=changes))
    return {slide.id: slide.features for slide in made}


def test_features_do_not_depend_on_the_order_of_slides_and_do_on_settings(base_slides):
    first, turned = features(base_slides), features(base_slides[::-1])
    for id_, values in first.items():
        np.testing.assert_array_equal(values, turned[id_])
    for change in ({"share": 0.5}, {"seed": 1}, {"layers": 1}, {"slope": 0.5}):
        assert not np.array_equal(first["A1"], features(base_slides, **change)["A1"])


def test_a_slide_follows_its_own_expression_alone(base_slides):
    """Genes, centre and scale are the cohort's; slides with the same sums leave a slide's features as they are."""
    other = base_slides[1].adata[::-1].copy()
    other.obsm = base_slides[1].adata.obsm
    mixed = [base_slides[0], replace(base_slides[1], adata=other), *base_slides[2:]]
    first, second = features(base_slides), features(mixed)
    np.testing.assert_array_equal(first["A1"], second["A1"])
    assert not np.array_equal(first["A2"], second["A2"])


def test_too_many_genes(base_slides):
    with pytest.raises(SettingError, match="n_genes: expected at most 7, the genes common to all slides, found 8"):
        make_slides(base_slides, SemisyntheticSettings(n_genes=8, dim=8))


@pytest.mark.parametrize(
    ("values", "said"), [({"dim": 999}, "at least n_genes = 1000"), ({"share": 1.1}, "less than"), ({"x": 1}, "x")]
)
def test_bad_settings(values, said):
    with pytest.raises(ValidationError, match=said):
        SemisyntheticSettings.model_validate(values)


def cohort(slides, reads=None):
    by_id = {slide.id: slide for slide in slides}
    refs = tuple(SlideRef(slide.id, f"patient_{slide.id[0]}") for slide in slides)

    def read(id_):
        if reads is not None:
            reads.append(id_)
        return replace(by_id[id_], adata=by_id[id_].adata.copy())

    return Cohort("her2st", "memory", refs, read)


def test_the_cohort_is_made_once_and_read_from_the_cache(base_slides, tmp_path):
    reads = []
    base = cohort(base_slides, reads)
    first = open_semisynthetic(SMALL, base, tmp_path / "data", tmp_path)
    assert (first.name, first.ids, reads) == ("her2st-semisynthetic", base.ids, [])
    assert "they carry 0.4 of every gene's variance" in first.about
    slides = [first.load(id_) for id_ in first.ids]
    again = open_semisynthetic(SMALL, base, tmp_path / "data", tmp_path).load("B2")
    assert len(reads) == len(base_slides)
    expected = features(base_slides)
    assert all(np.array_equal(slide.features, expected[slide.id]) for slide in [*slides, again])
    assert (again.patient, again.um_per_px, again.notes) == ("patient_B", 1.0, ("a note",))


def test_a_damaged_cache_is_made_again(base_slides, tmp_path):
    reads, said = [], []

    class Says(Silent):
        def info(self, message):
            said.append(message)

    made = open_semisynthetic(SMALL, cohort(base_slides, reads), tmp_path / "data", tmp_path, Says())
    before = made.load("A1").features
    (path,) = tmp_path.glob("semisynthetic/*/A1.h5ad")
    path.write_bytes(path.read_bytes()[:-100])
    np.testing.assert_array_equal(made.load("A1").features, before)
    assert len(reads) == 2 * len(base_slides)
    assert ["A1.h5ad is damaged" in line for line in said] == [True]
    assert not list(tmp_path.rglob("*.part"))


def test_other_files_make_another_cohort(base_slides, tmp_path):
    write_her2st(tmp_path / "data", "A1")
    open_semisynthetic(SMALL, cohort(base_slides), tmp_path / "data", tmp_path).load("A1")
    write_her2st(tmp_path / "data", "A2")
    open_semisynthetic(SMALL, cohort(base_slides), tmp_path / "data", tmp_path).load("A1")
    assert len(list(tmp_path.glob("semisynthetic/*/A1.h5ad"))) == 2


def test_a_cache_that_cannot_be_written(base_slides, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=r"expected to write cohort .*-semisynthetic into"):
        open_semisynthetic(SMALL, cohort(base_slides), tmp_path, tmp_path / "file").load("A1")


def test_the_ceiling_of_a_gene_of_two_values(base_slides):
    """P(y = a | t) is a logistic function of t."""
    made = make_slides(base_slides, SMALL)[0]
    counts = np.zeros((made.n_spots, 5), dtype=np.int32)
    counts[::2] = 3
    made.adata.X = csr_matrix(counts)
    a, p = np.log1p(3), (counts[:, 0] > 0).mean()
    t = np.asarray(made.adata.layers["noisy_expression"], dtype=np.float64)[:, 1]
    variance = 0.6 * a**2 * p * (1 - p)
    log_odds = np.log(p / (1 - p)) + (np.square(t) - np.square(t - np.sqrt(0.4) * a)) / (2 * variance)
    found = best_from_own_spot(made, made.genes[1:2])
    np.testing.assert_allclose(found[:, 0], a / (1 + np.exp(-log_odds)), rtol=1e-5, atol=1e-6)


def test_the_ceiling_beats_the_line_and_a_fitted_oracle(base_slides):
    made = make_slides(base_slides, SMALL)
    genes = made[0].genes

    def labelled(slide):
        noisy = np.asarray(slide.adata.layers["noisy_expression"], dtype=np.float32)
        inputs = SlideInputs(slide.id, slide.patient, noisy, slide.xy)
        return LabelledSlide(inputs, np.log1p(slide.counts.toarray()).astype(np.float32))

    slides = [labelled(slide) for slide in made]
    oracle = Ridge()
    oracle.fit(slides[:4], slides[4:5], Context(genes=tuple(genes)))
    y, test = slides[5].expression, made[5]
    best = best_from_own_spot(test, genes)
    line = np.sqrt(0.4) * slides[5].inputs.features + 0.6 * y.mean(axis=0)
    fitted = oracle.predict(slides[5].inputs, 1, 0)[0]
    errors = [np.square(prediction - y).mean() for prediction in (best, line, fitted)]
    assert errors[0] < errors[1] < errors[2]
    assert errors[1] == pytest.approx(0.6 * y.var(axis=0).mean(), rel=0.01)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_the_ceiling_is_never_worse_than_the_line(base_slides, share):
    for made in make_slides(base_slides, SMALL.model_copy(update={"share": share})):
        y = np.log1p(made.counts.toarray())
        error = np.square(best_from_own_spot(made, made.genes) - y).mean(axis=0)
        assert (error <= (1 - share) * y.var(axis=0) * 1.001).all()


def test_the_ceiling_on_other_scales(base_slides):
    made = make_slides(base_slides, SMALL)[0]
    natural, two = (best_from_own_spot(made, made.genes, scale) for scale in ("log1p", "log2p1"))
    np.testing.assert_allclose(two, natural / np.log(2), rtol=1e-6)
    with pytest.raises(SettingError, match="log1p or log2p1; found cp10k-log1p"):
        best_from_own_spot(made, made.genes, "cp10k-log1p")
    with pytest.raises(UnknownNameError, match="gene of slide A1"):
        best_from_own_spot(made, ["nothing"])
    with pytest.raises(DataError, match="expected the layer 'noisy_expression' of a semi-synthetic slide"):
        best_from_own_spot(base_slides[0], ["G0"])
