"""Correlations of all pairs of spots of a slide, as the paper defines them and as its released code computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from stbench.data.gene_names import excluded_genes
from stbench.data.normalize import normalize
from stbench.data.panel import candidate_genes
from stbench.data.slide import Slide
from stbench.errors import DataError
from stbench.studies.curse.estimators import FloatArray, edge_values

BINS = np.linspace(-1, 1, 101)
FACTS = ("released mean", "released sd", "released min", "pearson mean", "pearson sd", "correlation of both")
_MAX_SPOTS = 1000  # of a slide: half a million pairs say what 6 million would
_PART = 2  # of the seed


@dataclass(frozen=True)
class EdgeTable:
    """Edges over pairs of spots against panel size; panels are the most expressed genes of each slide.

    Args:
        slides: slides in order.
        sizes: panel sizes.
        facts: (n_slides, n_sizes, len(FACTS)) mean, standard deviation and others over pairs.
        n_constant: (n_slides, n_sizes) spots left out as constant over the panel.
        density: (n_sizes, 100) share of Pearson edges in each of ``BINS``, every slide with equal weight.
    """

    slides: tuple[str, ...]
    sizes: tuple[int, ...]
    facts: FloatArray
    n_constant: FloatArray
    density: FloatArray


def edge_table(slides: Sequence[Slide], sizes: tuple[int, ...], seed: int) -> EdgeTable:
    """Pearson and the released, sum-centred "correlation" on log1p of raw counts; the base of the logarithm cancels.

    Args:
        slides: slides with counts.
        sizes: panel sizes.
        seed: seed of the choice of 1,000 spots on slides with more.

    Raises:
        DataError: fewer than three spots of a slide vary over a panel.
    """
    facts, constant, density = [], [], []
    for place, slide in enumerate(slides):
        expression = _most_expressed(slide, sizes[-1], np.random.default_rng([seed, _PART, place]))
        rows = [_edges(expression[:, :size], slide.id) for size in sizes]
        facts.append([row[0] for row in rows])
        constant.append([row[1] for row in rows])
        density.append([row[2] for row in rows])
    return EdgeTable(
        tuple(slide.id for slide in slides), sizes, np.array(facts), np.array(constant), np.mean(density, axis=0)
    )


def _most_expressed(slide: Slide, n_genes: int, generator: np.random.Generator) -> FloatArray:
    genes = candidate_genes(set(slide.genes) - excluded_genes(slide))
    counts = csr_matrix(slide.adata[:, genes].X)
    order = np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")[:n_genes]
    spots = np.arange(slide.n_spots)
    if slide.n_spots > _MAX_SPOTS:
        spots = np.sort(generator.choice(slide.n_spots, _MAX_SPOTS, replace=False))
    return normalize(csr_matrix(counts[spots][:, order]), slide.total_counts[spots]).astype(np.float64)


def _edges(expression: FloatArray, slide: str) -> tuple[list[float], int, FloatArray]:
    varies = np.ptp(expression, axis=1) > 0
    if varies.sum() < 3:
        raise DataError(
            f"slide {slide}: expected at least 3 spots whose expression varies over its {expression.shape[1]} most "
            f"expressed genes, found {varies.sum()}; leave the size out of --genes or the slide out of the cohort"
        )
    if np.ptp(expression[varies], axis=0).max() == 0:
        raise DataError(
            f"slide {slide}: expected spots that differ, found the same counts of its {expression.shape[1]} most "
            "expressed genes in every spot; leave the slide out of the cohort"
        )
    released, true = (edge_values(expression[varies], by_sum=by_sum) for by_sum in (True, False))
    facts = [
        released.mean(),
        released.std(),
        released.min(),
        true.mean(),
        true.std(),
        np.corrcoef(released, true)[0, 1],
    ]
    return facts, int((~varies).sum()), np.histogram(true, BINS)[0] / len(true)
