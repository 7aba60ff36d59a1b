"""The simulated cohort: repeatable, cached, and true to the distribution it states."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import nbinom

from stbench.catalogue import find_dataset, load_entry
from stbench.data.image import PatchSpec
from stbench.data.simulator import SimulationSettings, best_possible, open_simulated, paper_size, simulate_slide
from stbench.data.simulator import cohort as cohort_module
from stbench.data.simulator.ceiling import expected_log1p
from stbench.data.simulator.cells import place_cells
from stbench.data.simulator.counts import make_genes
from stbench.data.simulator.fields import smooth_noise, still
from stbench.data.simulator.stain import EOSIN, HAEMATOXYLIN
from stbench.data.simulator.tissue import make_section
from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.reporting import Silent

TINY = SimulationSettings(n_patients=2, sections_per_patient=1, n_spots=30, n_genes=60, um_per_px=2.0)
MEDIUM = TINY.model_copy(update={"n_spots": 150, "n_genes": 120})


class Listener(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def info(self, message: str) -> None:
        self.messages.append(message)


def as_slide(settings: SimulationSettings, patient: int = 0, number: int = 0) -> Slide:
    return Slide("s", "p", simulate_slide(settings, patient, number)[0])


def test_cohort_lists_slides_without_making_any(tmp_path: Path) -> None:
    cohort = open_simulated(SimulationSettings(n_patients=2, sections_per_patient=3), tmp_path)
    assert cohort.ids == ("P01S1", "P01S2", "P01S3", "P02S1", "P02S2", "P02S3")
    assert [ref.patient for ref in cohort.refs] == ["P01"] * 3 + ["P02"] * 3
    assert not any(tmp_path.iterdir())


def test_slide_keeps_the_contract_of_slides(tmp_path: Path) -> None:
    slide = open_simulated(TINY, tmp_path).load("P02S1")
    assert (slide.id, slide.patient, slide.um_per_px) == ("P02S1", "P02", 2.0)
    assert slide.counts.shape == (30, 60)
    assert slide.counts.dtype == np.int32
    assert slide.xy.dtype == np.float32
    assert slide.image is not None
    width, height = slide.image.size() or (0, 0)
    assert (slide.xy > 0).all()
    assert (slide.xy < [width, height]).all()
    np.testing.assert_allclose(slide.array_xy, slide.xy * TINY.um_per_px / TINY.pitch_um)
    np.testing.assert_array_equal(slide.total_counts, slide.counts.toarray().sum(axis=1))
    assert {"domain", "depth"} <= set(slide.adata.obs)
    assert len(set(slide.spot_ids)) == 30


def test_filters_meet_mitochondrial_and_ribosomal_genes() -> None:
    names = make_genes(TINY).names
    assert names[0] == "GENE0001"
    assert any(name.startswith("MT-") for name in names)
    assert any(name.startswith("RPS") for name in names)
    assert len(set(names)) == TINY.n_genes


def test_same_slide_whatever_was_read_before(tmp_path: Path) -> None:
    alone = open_simulated(TINY, tmp_path / "one").load("P02S1")
    cohort = open_simulated(TINY, tmp_path / "two")
    cohort.load("P01S1")
    after = cohort.load("P02S1")
    assert (alone.counts != after.counts).nnz == 0
    assert alone.image is not None
    assert after.image is not None
    assert alone.image.digest() == after.image.digest()


def test_a_hit_equals_a_miss(tmp_path: Path) -> None:
    listener = Listener()
    cohort = open_simulated(TINY, tmp_path, listener)
    first, second = cohort.load("P01S1"), cohort.load("P01S1")
    assert listener.messages == ["simulating slide P01S1"]
    assert (first.counts != second.counts).nnz == 0
    assert first.adata.obs["domain"].tolist() == second.adata.obs["domain"].tolist()
    np.testing.assert_array_equal(first.adata.layers["expected"], second.adata.layers["expected"])
    assert not list(tmp_path.rglob("*.part*"))


def test_other_settings_or_seed_lie_elsewhere() -> None:
    assert len({TINY.digest(), MEDIUM.digest(), TINY.model_copy(update={"seed": 1}).digest()}) == 3


@pytest.mark.parametrize("suffix", [".h5ad", ".png", ".sha256.json"])
def test_damaged_cache_entry_is_made_again(tmp_path: Path, suffix: str) -> None:
    listener = Listener()
    cohort = open_simulated(TINY, tmp_path, listener)
    before = cohort.load("P01S1")
    (damaged,) = tmp_path.rglob(f"P01S1{suffix}")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    after = cohort.load("P01S1")
    assert "damaged" in listener.messages[1]
    assert (before.counts != after.counts).nnz == 0
    assert len(listener.messages) == 3
    cohort.load("P01S1")
    assert len(listener.messages) == 3


def test_interrupted_writing_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = open_simulated(TINY, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cohort_module.cv2, "imencode", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            cohort.load("P01S1")
    assert not list(tmp_path.rglob("*.part*"))
    assert cohort.load("P01S1").n_spots == 30


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_of_two_readers_at_once_one_simulates(tmp_path: Path) -> None:
    listener = Listener()
    cohorts = [open_simulated(TINY, tmp_path, listener) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda cohort: cohort.load("P01S1"), cohorts)
    assert listener.messages == ["simulating slide P01S1"]
    assert (first.counts != second.counts).nnz == 0


def test_unwritable_cache_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingError, match="file"):
        open_simulated(TINY, tmp_path / "file").load("P01S1")


def test_card_names_the_entry() -> None:
    card = find_dataset("simulated")
    assert card.simulated
    assert load_entry(card.entry or "") is open_simulated


def test_paper_size() -> None:
    settings = paper_size()
    assert settings.n_patients * settings.sections_per_patient == 36
    assert settings.n_spots == 378
    assert settings.n_genes >= 800


@pytest.mark.parametrize("wrong", [{"n_spot": 3}, {"n_spots": 0}, {"invisible_share": 1.0}, {"depth": float("nan")}])
def test_settings_refuse(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SimulationSettings(**wrong)


def test_fields_have_unit_variance() -> None:
    values = [smooth_noise(np.random.default_rng(k), (2000.0, 2000.0), 60.0) for k in range(20)]
    assert np.var(values) == pytest.approx(1, abs=0.08)
    assert np.mean(values) == pytest.approx(0, abs=0.08)
    seen = [still((2000.0, 2000.0)).sample(value, 60.0) for value in values]
    assert np.var(seen) == pytest.approx(1, abs=0.1)


def test_outline_encloses_the_spots_and_glass_surrounds_it() -> None:
    section = make_section(MEDIUM, 1, 0)
    assert (section.outline[section.cells_at(section.spot_um)] > 0).all()
    edge = np.concatenate([section.outline[0], section.outline[-1], section.outline[:, 0], section.outline[:, -1]])
    assert (edge < 0).all()


def test_nuclei_lie_in_tissue_and_apart() -> None:
    section = make_section(MEDIUM, 0, 0)
    cells = place_cells(section, np.random.default_rng(0))
    row, column = section.cells_at(cells.xy_um)
    assert (section.outline[row, column] > 0).all()
    assert not section.hole[row, column].any()
    distance = np.linalg.norm(cells.xy_um[:200, None] - cells.xy_um[None], axis=2)
    distance[np.arange(200), np.arange(200)] = np.inf
    assert distance.min() > 3


def test_counts_follow_the_stated_negative_binomial() -> None:
    adata = as_slide(TINY).adata
    mean, theta = np.asarray(adata.layers["expected"], dtype=float), adata.var["dispersion"].to_numpy()
    residual = adata.X.toarray() - mean
    variance = mean + mean**2 / theta
    assert abs(residual.sum()) < 4 * np.sqrt(variance.sum())
    assert (residual**2 / variance).mean() == pytest.approx(1, abs=0.15)


def test_visible_truth_is_the_mean_of_the_full_one() -> None:
    settings = TINY.model_copy(update={"n_genes": 100, "n_spots": 200, "um_per_px": 4.0})
    ratios = []
    for patient in range(4):
        adata = simulate_slide(settings, patient, 0)[0]
        ratios.append(np.asarray(adata.layers["expected"]) / np.asarray(adata.layers["expected_visible"]))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    spread = np.sqrt(make_genes(settings).invisible_sd ** 2 + settings.depth_sd**2)
    assert np.log(ratios).std(axis=(0, 1)).mean() == pytest.approx(spread.mean(), rel=0.2)


def test_expected_log1p_agrees_with_scipy() -> None:
    mean = np.array([[0.01, 0.7, 8.0, 30.0, 90.0, 700.0]])
    theta = np.array([2.0, 0.5, 6.0, 0.5, 3.0, 20.0])
    k = np.arange(20000)[:, None]
    exact = (nbinom.pmf(k, theta, theta / (theta + mean)) * np.log1p(3.0 * k)).sum(axis=0)
    np.testing.assert_allclose(expected_log1p(mean, theta, np.array([3.0]))[0], exact, atol=1e-4)


@pytest.mark.parametrize(
    ("scale", "transform"),
    [
        ("log1p", lambda counts, total: np.log1p(counts)),
        ("log2p1", lambda counts, total: np.log2(1 + counts)),
        ("cp10k-log1p", lambda counts, total: np.log1p(1e4 * counts / total)),
    ],
)
def test_best_possible_agrees_with_drawing(
    scale: str, transform: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    slide = as_slide(TINY)
    adata, draws = slide.adata, np.random.default_rng(0)
    theta, hidden = adata.var["dispersion"].to_numpy(), adata.var["invisible_sd"].to_numpy()
    full, visible = (np.asarray(adata.layers[name], dtype=float) for name in ("expected", "expected_visible"))
    sums = np.zeros((2, *full.shape))
    for _ in range(600):
        depth = np.exp(TINY.depth_sd * draws.standard_normal((30, 1)) - TINY.depth_sd**2 / 2)
        unseen = visible * depth * np.exp(hidden * draws.standard_normal(full.shape) - hidden**2 / 2)
        totals = (full.sum(axis=1, keepdims=True), visible.sum(axis=1, keepdims=True) * depth)
        for row, (mean, total) in enumerate(zip((full, unseen), totals, strict=True)):
            sums[row] += transform(draws.poisson(mean * draws.gamma(theta, 1 / theta, full.shape)), total) / 600
    best = best_possible(slide, slide.genes, scale)
    for drawn, computed in zip(sums, (best.full, best.visible), strict=True):
        assert np.abs(drawn - computed).mean() < 0.03 * (1 + 2 * (scale == "cp10k-log1p"))
        assert (drawn - computed).mean() == pytest.approx(0, abs=0.01)


def test_best_possible_follows_the_panel() -> None:
    slide = as_slide(TINY)
    genes = [slide.genes[7], slide.genes[2]]
    whole = best_possible(slide, slide.genes).visible
    np.testing.assert_allclose(best_possible(slide, genes).visible, whole[:, [7, 2]], rtol=1e-5)


def test_best_possible_refuses_a_real_slide_and_an_unknown_gene() -> None:
    slide = as_slide(TINY)
    with pytest.raises(UnknownNameError, match="NOPE"):
        best_possible(slide, ["NOPE"])
    del slide.adata.layers["expected"]
    with pytest.raises(DataError, match="slide s"):
        best_possible(slide, slide.genes)


def test_invisible_factor_leaves_the_image_alone() -> None:
    without, plain = simulate_slide(TINY.model_copy(update={"invisible_share": 0.0}), 0, 0)
    much, same = simulate_slide(TINY.model_copy(update={"invisible_share": 0.6}), 0, 0)
    np.testing.assert_array_equal(plain, same)
    np.testing.assert_allclose(without.layers["expected_visible"], much.layers["expected_visible"])
    depth_only = without.layers["expected"] / without.layers["expected_visible"]
    assert np.ptp(depth_only, axis=1).max() < 1e-4
    assert np.log(much.layers["expected"] / much.layers["expected_visible"]).std() > 0.3


def test_no_signal_means_one_profile_everywhere() -> None:
    settings = TINY.model_copy(update={"image_signal": 0.0})
    visible = np.asarray(simulate_slide(settings, 0, 0)[0].layers["expected_visible"], dtype=float)
    share = visible / visible.sum(axis=1, keepdims=True)
    assert np.ptp(share, axis=0).max() < 1e-5


def _stains(pixels: np.ndarray, xy: np.ndarray, half: int) -> np.ndarray:
    """(n_spots, 2) mean haematoxylin and eosin around each spot, by unmixing."""
    stains = np.linalg.lstsq(np.array([HAEMATOXYLIN, EOSIN]).T, np.eye(3), rcond=None)[0]
    windows = [pixels[y - half : y + half, x - half : x + half].reshape(-1, 3) for x, y in np.rint(xy).astype(int)]
    return np.array([(stains @ -np.log((window + 1.0) / 244).T).mean(axis=1) for window in windows])


def test_image_shows_domains_and_cells() -> None:
    adata, pixels = simulate_slide(MEDIUM, 0, 0)
    stains = _stains(pixels, adata.obsm["spatial"], 20)
    blue = stains[:, 0]
    domain = adata.obs["domain"].to_numpy()
    assert blue[domain == "immune"].mean() > blue[domain == "stroma"].mean() + 0.1
    lymphocytes = adata.obsm["cell_types"][:, 2]
    assert np.corrcoef(lymphocytes, blue)[0, 1] > 0.3
    assert np.corrcoef(np.log(adata.obs["expected_visible_total"]), blue)[0, 1] > 0.5


def test_serial_sections_are_alike_and_patients_differ() -> None:
    def common(one: Slide, other: Slide) -> float:
        spots = one.adata.obs_names.intersection(other.adata.obs_names)
        first, second = (slide.adata[spots].obsm["cell_types"].ravel() for slide in (one, other))
        return float(np.corrcoef(first, second)[0, 1])

    def profile(slide: Slide) -> np.ndarray:
        share = np.asarray(slide.adata.layers["expected_visible"]).sum(axis=0)
        return np.log(share / share.sum())

    first, second, stranger = (as_slide(MEDIUM, *place) for place in ((0, 0), (0, 1), (1, 0)))
    assert common(first, second) > common(first, stranger) + 0.1
    within, between = (np.abs(profile(first) - profile(slide)).mean() for slide in (second, stranger))
    assert between > 2 * within


def test_patches_are_served_from_the_picture(tmp_path: Path) -> None:
    slide = open_simulated(TINY, tmp_path).load("P01S1")
    assert slide.image is not None
    patches = list(slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(um=112, out_px=64)))
    assert np.shape(patches) == (30, 64, 64, 3)
    pixels = simulate_slide(TINY, 0, 0)[1]
    (x, y), whole = np.rint(slide.xy[0]).astype(int), patches[0]
    assert whole.mean() == pytest.approx(pixels[y - 28 : y + 28, x - 28 : x + 28].mean(), abs=2)
