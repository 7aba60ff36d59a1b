"""A Gaussian field over the spots of a slide with the gene covariance and the spatial correlation of residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

LENGTHS = np.array([1.0, 2.0, 4.0, 8.0])  # pitches
LAGS = np.arange(1, 9)  # pitches
OWN_FITS = 8  # factors after these share one fit
N_WAVES = 512
MOST_SMOOTH = 0.99
SPOTS_OF_MEAN = 500


class Field(NamedTuple):
    """A field of unit variance per gene: an offset per slide, and factors that are smooth in part.

    Args:
        offsets: (n_slides, n_genes); a slide's offset is their sum with standard normal weights.
        loadings: (n_genes, n_factors) of the factors, by falling variance.
        smooth: (n_factors,) share of a factor's variance with an exponential correlation, at gain 1.
        length: (n_factors,) place of its correlation length in :data:`LENGTHS`.
    """

    offsets: Array
    loadings: Array
    smooth: Array
    length: IntArray


class Noise(NamedTuple):
    """What is random in one draw of a slide.

    Args:
        offset: (n_genes,) offset of the slide.
        frequencies: (lengths, waves, 2) per pitch.
        phases: (lengths, waves).
        amplitudes: (waves, n_factors) standard normal.
        level: (lengths, waves) mean of every wave over the slide.
        scale: (lengths,) standard deviation that the waves together have within the slide.
    """

    offset: Array
    frequencies: Array
    phases: Array
    amplitudes: Array
    level: Array
    scale: Array


def fit_field(scores: Sequence[Array], positions: Sequence[Array]) -> Field:
    """Fit a field to the scores of training spots.

    Args:
        scores: (n_spots, n_genes) of every slide, of about unit variance over all.
        positions: (n_spots, 2) of every slide, in pitches.

    Returns:
        The field; its covariance within slides is that of Ledoit and Wolf (2004).
    """
    means = np.array([one.mean(axis=0) for one in scores])
    offsets = (means - means.mean(axis=0)) / np.sqrt(max(len(means) - 1, 1))
    within = [one - mean for one, mean in zip(scores, means, strict=True)]
    covariance = _covariance(np.concatenate(within))
    unit = 1 / np.sqrt(np.maximum(np.square(offsets).sum(axis=0) + np.diag(covariance), 1e-12))
    values, vectors = np.linalg.eigh(unit[:, None] * covariance * unit)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    factors = [one * unit @ vectors for one in within]
    smooth, length = _fit_correlations(*_correlations(factors, positions))
    return Field(offsets * unit, vectors * np.sqrt(values), smooth, length)


def _covariance(within: Array) -> Array:
    from sklearn.covariance import ledoit_wolf

    if len(within) < 2:
        return np.zeros((within.shape[1],) * 2)
    return np.atleast_2d(ledoit_wolf(within, assume_centered=True)[0])


def draw_noise(field: Field, positions: Array, generator: np.random.Generator) -> Noise:
    """The random waves of one draw of a slide; frequencies of the exponential kernel follow a bivariate Cauchy law.

    A slide's level is the offset's: the waves are centred on the slide, as some of its positions say.
    """
    offset = generator.standard_normal(len(field.offsets)) @ field.offsets
    direction = generator.standard_normal((len(LENGTHS), N_WAVES, 2))
    radius = np.abs(generator.standard_normal((len(LENGTHS), N_WAVES)))
    frequencies = direction / (LENGTHS[:, None] * radius)[..., None]
    phases = generator.uniform(0, 2 * np.pi, (len(LENGTHS), N_WAVES))
    amplitudes = generator.standard_normal((N_WAVES, len(field.smooth)))
    level, scale = np.zeros(phases.shape), np.ones(len(LENGTHS))
    for place in np.unique(field.length) if len(positions) > 1 else ():  # a lone spot has no level apart from itself
        cosines = np.cos(_some(positions) @ frequencies[place].T + phases[place])
        level[place], scale[place] = cosines.mean(axis=0), np.sqrt(2 * cosines.var(axis=0).mean())
    return Noise(offset, frequencies, phases, amplitudes, level, np.maximum(scale, 1e-6))


def waves(field: Field, noise: Noise, positions: Array) -> Array:
    """(n_spots, n_factors) the smooth part of every factor, of unit variance, at (n_spots, 2) positions in pitches."""
    found = np.zeros((len(positions), len(field.smooth)))
    for place in np.unique(field.length):
        own = field.length == place
        cosines = np.cos(positions @ noise.frequencies[place].T + noise.phases[place]) - noise.level[place]
        found[:, own] = np.sqrt(2 / N_WAVES) / noise.scale[place] * cosines @ noise.amplitudes[:, own]
    return found


def mixed(field: Field, noise: Noise, smooth: Array, white: Array, gain: float) -> Array:
    """(n_spots, n_genes) the field of (n_spots, n_factors) smooth and white parts; ``gain`` scales the smooth share."""
    share = np.minimum(gain * field.smooth, MOST_SMOOTH)
    return noise.offset + (np.sqrt(share) * smooth + np.sqrt(1 - share) * white) @ field.loadings.T


def _correlations(factors: Sequence[Array], positions: Sequence[Array]) -> tuple[Array, Array]:
    """Correlation of factors at lags of whole pitches, and what exponential correlations would be there.

    Returns:
        (lags, n_factors) empirical, and (lags, lengths) the mean over the same pairs of ``exp(-distance / length)``,
        once the slide's mean is taken off as it is from scores; lags without pairs are left out.
    """
    products, decays = np.zeros((len(LAGS), factors[0].shape[1])), np.zeros((len(LAGS), len(LENGTHS)))
    pairs = np.zeros((len(LAGS), 1))
    for values, place in zip(factors, positions, strict=True):
        first, second = cKDTree(place).query_pairs(LAGS[-1] + 0.5, output_type="ndarray").T
        distance, level = np.linalg.norm(place[first] - place[second], axis=1), _mean_decay(place)
        for row, lag in enumerate(LAGS):
            apart = np.flatnonzero(np.rint(distance) == lag)
            shape, ones = (len(values), len(values)), np.ones(len(apart))
            products[row] += (values * (csr_matrix((ones, (first[apart], second[apart])), shape) @ values)).sum(axis=0)
            decays[row] += ((np.exp(-distance[apart, None] / LENGTHS) - level) / (1 - level)).sum(axis=0)
            pairs[row] += len(apart)
    there = pairs[:, 0] > 0
    variance = np.square(np.concatenate(factors)).mean(axis=0)
    covariance = products[there] / pairs[there]
    found = np.divide(covariance, variance, out=np.zeros(covariance.shape), where=variance > 0)
    return found, decays[there] / pairs[there]


def _mean_decay(positions: Array) -> Array:
    """(lengths,) exponential correlation of two spots of a slide, on average."""
    some = _some(positions)
    distance = np.linalg.norm(some[:, None] - some, axis=2)
    return np.array([np.exp(-distance / length).mean() for length in LENGTHS])


def _some(positions: Array) -> Array:
    """At most 500 spots, evenly through their order, that stand for the slide where its mean is taken."""
    return positions[:: -(-len(positions) // SPOTS_OF_MEAN)]


def _fit_correlations(found: Array, decays: Array) -> tuple[Array, IntArray]:
    """Share and length of every factor by least squares of ``share * decay``, shares between 0 and 0.99.

    Lags weigh ``1 / lag^2``: there are many more pairs of distant spots, and what Moran's I sees is the near ones.
    """
    distinct = np.minimum(np.arange(found.shape[1]), OWN_FITS)
    found = np.stack([found[:, distinct == one].mean(axis=1) for one in np.unique(distinct)], axis=1)
    weight = 1 / np.arange(1, len(found) + 1) ** 2.0
    along = np.einsum("h,hl,hk->lk", weight, decays, found)
    square = np.einsum("h,hl->l", weight, decays**2)
    share = np.clip(along / np.maximum(square, 1e-12)[:, None], 0, MOST_SMOOTH)
    misfit = np.einsum("h,hlk->lk", weight, np.square(found[:, None] - decays[..., None] * share))
    length = misfit.argmin(axis=0)
    return share[length, np.arange(len(length))][distinct], length[distinct]
