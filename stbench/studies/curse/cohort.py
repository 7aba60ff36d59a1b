"""The counts of a cohort: how much correlations of spots scatter between panels of genes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.gene_names import excluded_genes
from stbench.data.normalize import normalize
from stbench.data.panel import Moments, candidate_genes, hmhvg
from stbench.data.slide import Slide, SlideRef
from stbench.errors import DataError, SettingError
from stbench.pages.patients import LEAST
from stbench.reporting import SILENT, Reporter
from stbench.studies.curse.edges import EdgeTable, edge_table
from stbench.studies.curse.estimators import Curve, FloatArray, isometric, pair_products, pearson, sharpness
from stbench.studies.curse.settings import MIN_SIZES, CurseSettings

MAX_SLIDES = 8
MIN_DETECTED = 0.05  # share of the pool's genes a spot must show: emptier ones are constant over most small panels
_PART = 1  # of the seed; the simulated genes have another
_TITLES: dict[str, tuple[str, float | None]] = {
    "random-variance": ("variance of Pearson, random genes", -1.0),
    "top-variance": ("variance of Pearson, top-ranked genes", -1.0),
    "drift": ("squared distance of top G genes to pool", -1.0),
    "random-sharpness": ("sharpness of Pearson, random genes, held out", 1.0),
    "random-plug-in": ("sharpness of Pearson, random genes, plug-in", 1.0),
    "random-inflation": ("variance over the Gaussian one, random genes", None),
    "top-inflation": ("variance over the Gaussian one, top-ranked genes", None),
}


@dataclass(frozen=True)
class CohortResult:
    """What was measured on the counts of a cohort.

    Args:
        card: the cohort's card.
        slides: slide to number of spots, those that were read.
        patients: slide to patient.
        n_slides: usable slides of the cohort.
        n_common: candidate genes that all of these slides name.
        pool: size of the pool of genes, twice the largest panel.
        sizes: panel sizes.
        left_out: sizes that need more genes than the cohort has.
        unit: what a slope's interval counts, ``patient`` or ``repeat``.
        curves: quantity by key, one row per unit.
        constant: (n_sizes,) share of spots that are constant over their random panel.
        edges: Pearson and the released edge target over all pairs of spots.
    """

    card: DatasetCard
    slides: dict[str, int]
    patients: dict[str, str | None]
    n_slides: int
    n_common: int
    pool: int
    sizes: tuple[int, ...]
    left_out: tuple[int, ...]
    unit: str
    curves: dict[str, Curve]
    constant: FloatArray
    edges: EdgeTable


@dataclass(frozen=True)
class _Tissue:
    """(n_spots, pool) expression of the spots that vary, genes by rank, and their positions."""

    expression: FloatArray
    xy: FloatArray


def choose_slides(refs: Sequence[SlideRef], most: int = MAX_SLIDES) -> list[SlideRef]:
    """The first slide of every patient, then the second, in the cohort's order, at most ``most`` of them."""
    turn: dict[str | None, int] = {}
    rounds = []
    for place, ref in enumerate(refs):
        rounds.append((turn.get(ref.patient, 0), place))
        turn[ref.patient] = turn.get(ref.patient, 0) + 1
    return [refs[place] for _, place in sorted(sorted(rounds)[:most], key=lambda pair: pair[1])]


def measure_cohort(
    cohort: Cohort, card: DatasetCard, settings: CurseSettings, reporter: Reporter = SILENT
) -> CohortResult:
    """Measure the scatter of spot-spot correlations between panels on up to eight slides of a cohort.

    A* of real counts is unknown. Two disjoint panels of the same size, drawn at random from one pool, differ by
    ``E||A_1 - A_2||_F^2``, twice the variance of a panel's edges whatever A* is; half of it is reported. Pools are the
    most highly ranked genes (paper Eq. 17, ranked over the slides read): twice the largest panel of them for *random
    genes*, twice the panel itself for *top-ranked genes*. Expression is log1p of raw counts.

    Args:
        cohort: the slides; pictures are not needed.
        card: the cohort's card.
        settings: what the user chose.
        reporter: where progress goes.

    Raises:
        SettingError: a panel is too large for the cohort, or too few default sizes fit it.
        DataError: a slide has too few spots whose expression varies over genes.
    """
    refs = choose_slides(cohort.refs)
    slides = _read(cohort, refs, reporter)
    common = candidate_genes(set.intersection(*(set(slide.genes) - excluded_genes(slide) for slide in slides)))
    sizes = _fitting(settings, len(common), cohort.name)
    edges = edge_table(slides, sizes, settings.seed)
    ranked = _ranked(slides, common, 2 * sizes[-1])
    tissues = [_tissue(slide, ranked, settings.spots) for slide in slides]
    values = _windows(tissues, sizes, settings, reporter)
    constant = values.pop("random-constant").mean(axis=(0, 1))
    values.pop("top-constant")
    patients = {ref.id: ref.patient for ref in refs}
    unit, rows = _units(list(patients.values()))
    return CohortResult(
        card=card,
        slides={slide.id: slide.n_spots for slide in slides},
        patients=patients,
        n_slides=len(cohort.refs),
        n_common=len(common),
        pool=len(ranked),
        sizes=sizes,
        left_out=tuple(size for size in settings.sizes if size not in sizes),
        unit=unit,
        curves={key: Curve(title, sizes, rows(values[key]), theory) for key, (title, theory) in _TITLES.items()},
        constant=constant,
        edges=edges,
    )


def _read(cohort: Cohort, refs: Sequence[SlideRef], reporter: Reporter) -> list[Slide]:
    slides = []
    with reporter.track(f"reading {cohort.name}", len(refs)) as advance:
        for ref in refs:
            slides.append(cohort.load(ref.id))
            advance(note=ref.id)
    if not slides:
        raise DataError(f"{cohort.name}: expected slides with counts, found none; check the cohort's folder")
    return slides


def _fitting(settings: CurseSettings, n_common: int, name: str) -> tuple[int, ...]:
    most = n_common // 2
    fitting = tuple(size for size in settings.sizes if size <= most)
    why = f"two disjoint panels out of the {n_common} genes that the slides of {name} share"
    if settings.genes is not None and fitting != settings.genes:
        raise SettingError(f"--genes: expected at most {most} ({why}), found {settings.genes[-1]}; leave it out")
    if len(fitting) < MIN_SIZES:
        raise SettingError(f"--genes: expected {MIN_SIZES} sizes up to {most} ({why}), found {len(fitting)} of the "
                           "usual ones; name smaller sizes")  # fmt: skip
    return fitting


def _ranked(slides: Sequence[Slide], common: Sequence[str], n_genes: int) -> list[str]:
    moments = Moments(common)
    for slide in slides:
        moments.update(csr_matrix(slide.adata[:, moments.genes].X))
    return [moments.genes[i] for i in hmhvg(moments.mean, moments.std, n_genes)]


def _tissue(slide: Slide, genes: list[str], n_spots: int) -> _Tissue:
    expression = normalize(csr_matrix(slide.adata[:, genes].X), slide.total_counts).astype(np.float64)
    usable = (np.ptp(expression, axis=1) > 0) & ((expression > 0).mean(axis=1) >= MIN_DETECTED)
    if usable.sum() < n_spots:
        raise DataError(
            f"slide {slide.id}: expected at least {n_spots} spots (--spots) that show {MIN_DETECTED:.0%} of the pool's "
            f"genes and are not constant over them, found {usable.sum()} of {slide.n_spots}; ask for fewer spots or "
            "leave the slide out"
        )
    return _Tissue(expression[usable], slide.xy[usable].astype(np.float64))


def _windows(
    tissues: Sequence[_Tissue], sizes: tuple[int, ...], settings: CurseSettings, reporter: Reporter
) -> dict[str, FloatArray]:
    """(n_repeats, n_slides, n_sizes) of every quantity; each repeat takes another window of every slide."""
    found: dict[str, FloatArray] = {}
    with reporter.track("panels of real counts", settings.repeats * len(tissues)) as advance:
        for repeat in range(settings.repeats):
            for place, tissue in enumerate(tissues):
                generator = np.random.default_rng([settings.seed, _PART, repeat, place])
                window = _window(tissue, settings.spots, generator)
                for key, values in _measure(window, sizes, settings.panels, generator).items():
                    empty = np.empty((settings.repeats, len(tissues), len(sizes)))
                    found.setdefault(key, empty)[repeat, place] = values
                advance()
    return found


def _window(tissue: _Tissue, n_spots: int, generator: np.random.Generator) -> FloatArray:
    """A random spot and its nearest ones, (n_spots, pool)."""
    centre = tissue.xy[generator.integers(len(tissue.xy))]
    return tissue.expression[np.argsort(np.square(tissue.xy - centre).sum(axis=1), kind="stable")[:n_spots]]


def _measure(
    window: FloatArray, sizes: tuple[int, ...], n_panels: int, generator: np.random.Generator
) -> dict[str, list[float]]:
    products = pair_products(window)
    places = _places(window.shape[1], n_panels, generator)
    found: dict[str, list[float]] = {}
    for size in sizes:
        measured = {"drift": _drift(products, window, size)}
        measured |= {f"random-{key}": value for key, value in _scatter(products, window, places, size).items()}
        top = slice(2 * size)
        among_top = _scatter(products[top], window[:, top], _places(2 * size, n_panels, generator), size)
        del among_top["sharpness"], among_top["plug-in"]  # 2 G genes have too few degrees of freedom for all edges
        measured |= {f"top-{key}": value for key, value in among_top.items()}
        for key, value in measured.items():
            found.setdefault(key, []).append(value)
    return found


def _places(n_genes: int, n_panels: int, generator: np.random.Generator) -> NDArray[np.int32]:
    """(n_panels, n_genes) place of every gene in a random order: the first G and the next G are disjoint panels."""
    return generator.permuted(np.tile(np.arange(n_genes, dtype=np.int32), (n_panels, 1)), axis=1)


def _correlations(
    products: FloatArray, window: FloatArray, members: NDArray[np.bool_]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Pearson edges of every panel, and which spots are constant; sums over genes are one matrix product."""
    weights = members / members.sum(axis=1, keepdims=True)
    return pearson(weights @ products, weights @ window.T)


def _drift(products: FloatArray, window: FloatArray, size: int) -> float:
    ranks = np.arange(len(products))
    (top, whole), _ = _correlations(products, window, np.stack([ranks < size, ranks >= 0]))
    overlap = 1 - size / len(products)  # a random part of the pool of this size is nearer to it by this factor
    return float(np.square(isometric(top - whole, len(window))).sum() / overlap)


def _scatter(products: FloatArray, window: FloatArray, places: NDArray[np.int32], size: int) -> dict[str, float]:
    panels = places < size, (places >= size) & (places < 2 * size)
    (a, flat_a), (b, flat_b) = (_correlations(products, window, members) for members in panels)
    variance = np.square(a - b).mean(axis=0) / 2
    gaussian = np.square(1 - np.square((a + b).mean(axis=0) / 2)) / (size - 1)
    held_out, plug_in = sharpness(isometric((a - b) / np.sqrt(2), len(window)))
    return {
        "variance": float(2 * variance.sum()),
        "sharpness": held_out,
        "plug-in": plug_in,
        "inflation": float(variance.sum() / gaussian.sum()),
        "constant": float((flat_a.mean() + flat_b.mean()) / 2),
    }


def _units(patients: Sequence[str | None]) -> tuple[str, Callable[[FloatArray], FloatArray]]:
    """What slopes are counted over, and how (n_repeats, n_slides, n_sizes) becomes one row per unit.

    Averages are geometric, so that the slope of a unit is the mean of the slopes of its windows.
    """
    names = sorted({patient for patient in patients if patient is not None})
    if None in patients or len(names) < LEAST:
        return "repeat", lambda values: _geometric(values, 1)
    members = [[i for i, patient in enumerate(patients) if patient == name] for name in names]
    return "patient", lambda values: np.stack([_geometric(values[:, places], (0, 1)) for places in members])


def _geometric(values: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    with np.errstate(divide="ignore"):  # 0 where nothing varies, which the fit refuses
        return np.exp(np.log(values).mean(axis=axis))
