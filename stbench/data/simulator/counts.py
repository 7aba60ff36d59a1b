"""Expression of a section: programmes, expected counts, and the counts drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.data.simulator.cells import CELL_TYPES, Cells
from stbench.data.simulator.settings import SimulationSettings
from stbench.data.simulator.tissue import INVISIBLE_FACTORS, Section

FloatArray = NDArray[np.float64]

PROGRAMMES = ("grade", "matrix")  # visible: nuclear size and pallor of tumour cells, density of collagen
_HOUSEKEEPING = ("MT-CO1", "MT-ND4", "MT-ATP6", "RPS3", "RPS18", "RPS27A")
_BASE_SD = 1.3  # of a gene's log abundance
_MARKER_SHARE, _MARKER_FOLD, _BACKGROUND_FOLD = 0.55, (1.3, 2.8), 0.2
_PROGRAMME_SHARE, _PROGRAMME_FOLD = 0.15, 0.45
_VISIBLE_SD = 0.5  # nominal spatial sd of log expression from what the image shows, the measure of invisible_share
_RNA = np.array([1.6, 0.8, 0.6, 1.5, 1.1, 1.2])  # content of a cell of each type
_AMBIENT_CELLS = 1.0  # RNA of this many average cells reaches every spot
_TYPICAL_CELLS = 10.0
_CELLULARITY_POWER = 0.6
_BLEED_UM = 8.0


@dataclass(frozen=True)
class Genes:
    """Parameters of the genes, the same on every slide.

    Args:
        names: (n_genes,) symbols.
        marker_of: (n_genes,) the cell type a gene is a marker of, empty where it is none.
        profiles: (n_types, n_genes) share of each gene in the RNA of a cell type; rows sum to 1.
        programmes: (n_programmes, n_genes) change of log expression per unit of activity.
        invisible: (n_factors, n_genes) the same for the factors no image shows.
        dispersion: (n_genes,) theta of the negative binomial.
    """

    names: list[str]
    marker_of: list[str]
    profiles: FloatArray
    programmes: FloatArray
    invisible: FloatArray
    dispersion: FloatArray

    @property
    def invisible_sd(self) -> FloatArray:
        """(n_genes,) standard deviation of log expression that the invisible factors cause."""
        return np.asarray(np.sqrt((self.invisible**2).sum(axis=0)))


@dataclass(frozen=True)
class Expression:
    """Counts of one section and the truth behind them.

    Args:
        counts: (n_spots, n_genes) int32 UMI.
        expected: (n_spots, n_genes) expected UMI given everything, depth and invisible factors included.
        expected_visible: (n_spots, n_genes) the mean of ``expected`` over invisible factors and unexplained depth.
        depth: (n_spots,) expected UMI of a spot before the invisible factors.
        cell_types: (n_spots, n_types) share of each type among the cells of a spot; 0 where there is no cell.
    """

    counts: csr_matrix
    expected: FloatArray
    expected_visible: FloatArray
    depth: FloatArray
    cell_types: FloatArray


def make_genes(settings: SimulationSettings) -> Genes:
    """Draw the parameters of all genes."""
    generator = settings.stream("genes")
    n_genes, n_types = settings.n_genes, len(CELL_TYPES)
    n_housekeeping = min(len(_HOUSEKEEPING), n_genes // 10)
    base = generator.normal(0, _BASE_SD, n_genes)
    marker = np.where(generator.random(n_genes) < _MARKER_SHARE, generator.integers(n_types, size=n_genes), -1)
    base[n_genes - n_housekeeping :] = 1.8 * _BASE_SD
    marker[n_genes - n_housekeeping :] = -1
    fold = generator.normal(0, _BACKGROUND_FOLD, (n_types, n_genes))
    fold += (np.arange(n_types)[:, None] == marker) * generator.uniform(*_MARKER_FOLD, n_genes)
    weights = np.exp(base + settings.image_signal * fold)
    active = generator.random((len(PROGRAMMES), n_genes)) < _PROGRAMME_SHARE
    programmes = settings.image_signal * _PROGRAMME_FOLD * active * generator.normal(0.6, 0.8, active.shape)
    return Genes(
        names=[f"GENE{k + 1:04d}" for k in range(n_genes - n_housekeeping)] + list(_HOUSEKEEPING[:n_housekeeping]),
        marker_of=["" if kind < 0 else CELL_TYPES[kind] for kind in marker],
        profiles=weights / weights.sum(axis=1, keepdims=True),
        programmes=programmes,
        invisible=_invisible_loadings(settings),
        dispersion=np.clip(settings.dispersion * np.exp(generator.normal(0, 0.4, n_genes)), 0.5, 50),
    )


def _invisible_loadings(settings: SimulationSettings) -> FloatArray:
    """Each gene follows one factor, up or down; the mean square of the loadings sets the share of variance."""
    generator = settings.stream("invisible genes")
    sizes = generator.normal(0, 1, settings.n_genes)
    sizes *= _VISIBLE_SD / np.sqrt(np.mean(sizes**2))
    factor = generator.integers(INVISIBLE_FACTORS, size=settings.n_genes)
    strength = np.sqrt(settings.invisible_share / (1 - settings.invisible_share))
    return np.asarray((np.arange(INVISIBLE_FACTORS)[:, None] == factor) * sizes * strength)


def express(
    section: Section, cells: Cells, genes: Genes, settings: SimulationSettings, patient: int, number: int
) -> Expression:
    """Expression of the cells under each spot.

    With W the cells under a spot, weighted by their RNA, the expected count is
    ``mu = depth * share(W, programmes, patient) * exp(a f + s e - (a^2 + s^2) / 2)`` where f (invisible factor) and e
    (unexplained depth) are standard normal, and counts are negative binomial with variance ``mu + mu^2 / theta``.

    Args:
        section: anatomy.
        cells: what lies under the spots.
        genes: parameters of the genes.
        settings: of the cohort.
        patient: number of the patient.
        number: number of the section within the patient.

    Returns:
        Counts and truth.
    """
    under = cells_under_spots(section, cells, settings.spot_diameter_um)
    rna = under * _RNA
    ambient = _AMBIENT_CELLS * genes.profiles.mean(axis=0)
    log_share = np.log(rna @ genes.profiles + ambient)
    log_share += _activity(section, under) @ genes.programmes
    log_share += settings.stream("patient genes", patient).normal(0, settings.patient_effect, settings.n_genes)
    share = np.exp(log_share)
    share /= share.sum(axis=1, keepdims=True)
    visible_depth = _visible_depth(rna, settings, patient, number)
    residual = _residual_depth(settings, patient, number, len(under))
    visible = visible_depth[:, None] * share
    row, column = section.cells_at(section.spot_um)
    shift = section.invisible[:, row, column].T @ genes.invisible - 0.5 * genes.invisible_sd**2
    expected = visible * residual[:, None] * np.exp(shift)
    counts = _draw(settings.stream("counts", patient, number), expected, genes.dispersion)
    n_cells = np.maximum(under.sum(axis=1, keepdims=True), 1e-9)
    return Expression(csr_matrix(counts), expected, visible, visible_depth * residual, under / n_cells)


def cells_under_spots(section: Section, cells: Cells, diameter_um: float) -> FloatArray:
    """(n_spots, n_types) cells under each spot; a cell across the rim counts in part, as RNA bleeds."""
    from scipy.spatial import cKDTree

    reach = diameter_um / 2 + 5 * _BLEED_UM
    near = cKDTree(section.spot_um).sparse_distance_matrix(cKDTree(cells.xy_um), reach, output_type="ndarray")
    weight = 1 / (1 + np.exp((near["v"] - diameter_um / 2) / (0.5 * _BLEED_UM)))
    found = np.zeros((len(section.spot_um), len(CELL_TYPES)))
    np.add.at(found, (near["i"], cells.kind[near["j"]]), weight)
    return found


def _activity(section: Section, under: FloatArray) -> FloatArray:
    """(n_spots, n_programmes): a programme runs only in the cells that show it."""
    row, column = section.cells_at(section.spot_um)
    part = under / np.maximum(under.sum(axis=1, keepdims=True), 1e-9)
    tumour, fibroblast = CELL_TYPES.index("tumour"), CELL_TYPES.index("fibroblast")
    grade = part[:, tumour] * section.grade[row, column]
    return np.asarray(np.stack([grade, part[:, fibroblast] * section.matrix[row, column]], axis=1))


def _visible_depth(rna: FloatArray, settings: SimulationSettings, patient: int, number: int) -> FloatArray:
    """(n_spots,) expected depth from cellularity, and from how well the slide went."""
    amount = (rna.sum(axis=1) + _AMBIENT_CELLS) / (_TYPICAL_CELLS + _AMBIENT_CELLS)
    quality = settings.stream("quality", patient).normal(0, settings.patient_effect)
    quality += settings.stream("quality", patient, number + 1).normal(0, 0.5 * settings.patient_effect)
    return np.asarray(settings.depth * amount**_CELLULARITY_POWER * np.exp(quality))


def _residual_depth(settings: SimulationSettings, patient: int, number: int, n_spots: int) -> FloatArray:
    noise = settings.stream("depth", patient, number).normal(0, 1, n_spots)
    return np.asarray(np.exp(settings.depth_sd * noise - 0.5 * settings.depth_sd**2))


def _draw(generator: np.random.Generator, expected: FloatArray, dispersion: FloatArray) -> NDArray[np.int32]:
    """Negative binomial as a Poisson with a gamma-distributed rate."""
    rate = expected * generator.gamma(dispersion, 1 / dispersion, expected.shape)
    return generator.poisson(rate).astype(np.int32)
