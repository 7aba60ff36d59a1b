"""Simulated Gaussian genes with a known correlation of spots (Eq. 35), and the closed forms of what is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stbench.reporting import SILENT, Reporter
from stbench.studies.curse.estimators import Curve, FloatArray, isometric, pearson, sharpness
from stbench.studies.curse.settings import CurseSettings

PITCH_PX, SIGMA_PX = 290.0, 224.0  # HER2ST's pitch and the width of the paper's distance kernel (Eq. 58)
_PART = 0  # of the seed; the cohort has another
_CHUNK = 4_000_000  # simulated values in memory at a time

Sample = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class GaussianResult:
    """What was measured on simulated genes.

    Args:
        truth: (N, N) the correlation A* the genes are drawn with.
        curves: quantity by key, one unit per repeat.
        exact: (n_sizes,) closed form of the quantity of the same key.
        pair: (n_sizes, n_repeats * n_panels) correlations of the first two spots, which are neighbours.
    """

    truth: FloatArray
    curves: dict[str, Curve]
    exact: dict[str, FloatArray]
    pair: FloatArray


def true_correlation(n_spots: int) -> FloatArray:
    """A*: the paper's distance kernel (Eq. 58) on the first spots of a square grid with HER2ST's pitch, (N, N)."""
    side = int(np.ceil(np.sqrt(n_spots)))
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n_spots] * PITCH_PX
    squared = np.square(xy[:, None] - xy[None]).sum(axis=-1)
    return np.exp(-squared / (2 * SIGMA_PX**2))


def sample_moments(truth: FloatArray, n_genes: int, n_panels: int, generator: np.random.Generator) -> Sample:
    """Moments of independent panels of genes drawn from N(0, A*).

    Args:
        truth: (N, N) A*.
        n_genes: genes of a panel.
        n_panels: panels.
        generator: source of randomness.

    Returns:
        (n_panels, N(N+1)/2) Gram estimator of Eq. 36 for spots i <= j, and (n_panels, N) means over genes.
    """
    root, n_spots = np.linalg.cholesky(truth), len(truth)
    i, j = np.triu_indices(n_spots)
    at_once = max(1, _CHUNK // (n_spots * n_genes))
    grams, means = [], []
    for start in range(0, n_panels, at_once):
        y = root @ generator.standard_normal((min(at_once, n_panels - start), n_spots, n_genes))
        grams.append((y @ y.transpose(0, 2, 1))[:, i, j] / n_genes)
        means.append(y.mean(axis=2))
    return np.concatenate(grams), np.concatenate(means)


def gram_error(truth: FloatArray, n_genes: float) -> float:
    """``((tr A*)^2 + ||A*||_F^2) / G``, exact for the Gram estimator (Eq. 37 with its constant)."""
    return float((np.trace(truth) ** 2 + np.square(truth).sum()) / n_genes)


def gram_sharpness(truth: FloatArray, n_genes: float) -> float:
    """``G / (2 lambda_min(A*)^2)``, exact: the Gram estimator's covariance has eigenvalues 2 l_i l_j / G, i <= j."""
    return float(n_genes / (2 * np.linalg.eigvalsh(truth)[0] ** 2))


def pearson_covariance(truth: FloatArray) -> FloatArray:
    """(D, D) covariance of Pearson correlations of spots i < j, times G - 1, to first order (Pearson and Filon 1898).

    Its diagonal is the familiar ``(1 - rho^2)^2``.
    """
    i, j = np.triu_indices(len(truth), 1)
    ij = truth[i, j][:, None]
    kl = ij.T
    ik, il, jk, jl = (truth[a][:, b] for a in (i, j) for b in (i, j))
    return (
        ij * kl * (ik**2 + il**2 + jk**2 + jl**2) / 2
        + ik * jl
        + il * jk
        - ij * (ik * il + jk * jl)
        - kl * (ik * jk + il * jl)
    )


def pearson_error(truth: FloatArray, n_genes: float) -> float:
    """``sum over i != j of (1 - rho_ij^2)^2 / (G - 1)``, to first order."""
    return float(2 * np.trace(pearson_covariance(truth)) / (n_genes - 1))


def pearson_sharpness(truth: FloatArray, n_genes: float) -> float:
    """Largest Fisher eigenvalue of Pearson edges, to first order; isometric coordinates double the variance."""
    return float((n_genes - 1) / (2 * np.linalg.eigvalsh(pearson_covariance(truth))[0]))


def measure_gaussian(settings: CurseSettings, reporter: Reporter = SILENT) -> GaussianResult:
    """Simulate genes and measure error and sharpness of both estimators against panel size.

    Args:
        settings: sizes, spots, seed and repeats.
        reporter: where progress goes.
    """
    truth, sizes = true_correlation(settings.spots), settings.sizes
    found: dict[str, list[list[float]]] = {}
    pair: list[list[FloatArray]] = []
    with reporter.track("simulated genes", settings.repeats) as advance:
        for repeat in range(settings.repeats):
            pair.append([])
            for n_genes in sizes:
                generator = np.random.default_rng([settings.seed, _PART, repeat, n_genes])
                sample = sample_moments(truth, n_genes, settings.panels, generator)
                measured, of_pair = _measure(truth, sample)
                pair[-1].append(of_pair)
                for key, value in measured.items():
                    found.setdefault(key, [[] for _ in range(settings.repeats)])[repeat].append(value)
            advance()
    curves = {key: Curve(_TITLES[key][0], sizes, np.array(rows), _TITLES[key][1]) for key, rows in found.items()}
    return GaussianResult(truth, curves, _exact(truth, sizes), np.concatenate(pair, axis=1))


_TITLES = {
    "pair-sd": ("standard deviation of r, neighbouring pair", -0.5),
    "gram-error": ("error of the Gram estimator", -1.0),
    "pearson-error": ("error of Pearson", -1.0),
    "gram-sharpness": ("sharpness of the Gram estimator, held out", 1.0),
    "gram-plug-in": ("sharpness of the Gram estimator, plug-in", 1.0),
    "pearson-sharpness": ("sharpness of Pearson, held out", 1.0),
    "pearson-plug-in": ("sharpness of Pearson, plug-in", 1.0),
}


def _measure(truth: FloatArray, sample: Sample) -> tuple[dict[str, float], FloatArray]:
    n_spots = len(truth)
    edges = {"gram": sample[0], "pearson": pearson(*sample)[0]}
    targets = {"gram": truth[np.triu_indices(n_spots)], "pearson": truth[np.triu_indices(n_spots, 1)]}
    measured = {"pair-sd": float(edges["pearson"][:, 0].std(ddof=1))}
    for name, values in edges.items():
        deviation = isometric(values - targets[name], n_spots)
        measured[f"{name}-error"] = float(np.square(deviation).sum(axis=1).mean())
        measured[f"{name}-sharpness"], measured[f"{name}-plug-in"] = sharpness(deviation)
    return measured, edges["pearson"][:, 0]


def _exact(truth: FloatArray, sizes: tuple[int, ...]) -> dict[str, FloatArray]:
    g = np.asarray(sizes, dtype=float)
    return {
        "pair-sd": (1 - truth[0, 1] ** 2) / np.sqrt(g - 1),
        "gram-error": gram_error(truth, 1) / g,
        "pearson-error": pearson_error(truth, 2) / (g - 1),
        "gram-sharpness": gram_sharpness(truth, 1) * g,
        "pearson-sharpness": pearson_sharpness(truth, 2) * (g - 1),
    }
