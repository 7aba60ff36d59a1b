"""Features of a spot made from its expression: noise that looks like expression, then a fixed random network.

Let Y (n_spots, n_genes) be log1p of the counts of a slide, and Y_c the same without the slide's mean of every gene. The
features are an injective function of

    T = sqrt(share) Y + sqrt(1 - share) E,    E = Q Y_c,

where Q mixes the spots of the slide at random. Q is orthogonal, skew-symmetric, and keeps to bands of spatial modes
from smooth to rough. Hence, on every slide, for every gene and every weighted sum of genes,

- noise and expression have the same variance and about the same spatial smoothness, and are uncorrelated;
- the squared correlation of expression and its noisy value is exactly ``share`` (but for one mode of a slide with an
  even number of spots, which is left without noise);
- no weighted sum with other genes or neighbouring spots improves on it, up to chance and to differences of smoothness
  within a band: T has the covariance of Y, so the best linear guess of Y_c from T_c is ``sqrt(share) T_c``.

White noise would not do: neighbouring spots would average it out, and the share would hold for methods alone that look
at no neighbour. Differences between slides in the level of a gene are in the features as they are in Y.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stbench.data.semisynthetic.settings import SemisyntheticSettings

FloatArray = NDArray[np.float64]

FIRST_BAND = 8  # modes; every further band doubles the number of modes so far
SMOOTHNESS = 2.0  # range of the kernel whose eigenvectors are the modes, in distances of nearest neighbours


def noisy_expression(
    expression: FloatArray, xy: FloatArray, settings: SemisyntheticSettings, slide_id: str
) -> FloatArray:
    """What the features of a slide say of its expression; see the top of this file.

    Args:
        expression: (n_spots, n_genes) log1p of counts.
        xy: (n_spots, 2) spot centres, any unit.
        settings: share and seed.
        slide_id: seeds the noise together with the settings.

    Returns:
        (n_spots, n_genes), ``sqrt(share)`` times log1p of counts plus noise.
    """
    centred = expression - expression.mean(axis=0)
    gaussian = settings.stream("noise", slide_id).standard_normal((len(xy), len(xy)))
    noise = np.zeros_like(centred)
    for modes in bands(spatial_modes(xy)):
        noise += modes @ (_skew_rotation(modes.T @ gaussian @ modes) @ (modes.T @ centred))
    return np.asarray(np.sqrt(settings.share) * expression + np.sqrt(1 - settings.share) * noise)


def spatial_modes(xy: FloatArray) -> FloatArray:
    """Orthonormal functions on the spots of a slide, each of mean zero, from smooth to rough.

    Eigenvectors of the centred kernel ``exp(-distance / (2 nearest distances))``.

    Args:
        xy: (n_spots, 2) spot centres.

    Returns:
        (n_spots, n_spots - 1), one mode per column.
    """
    if len(xy) < 2:
        return np.zeros((len(xy), 0))
    distance = np.sqrt(np.square(xy[:, None] - xy[None]).sum(axis=-1))
    nearest = np.median(np.where(distance > 0, distance, np.inf).min(axis=1))
    kernel = np.exp(-distance / (SMOOTHNESS * nearest))
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()
    # the kernel is positive definite, so that of the centred one the constant alone has value 0, the smallest
    return np.asarray(np.linalg.eigh(centred)[1][:, :0:-1])


def bands(modes: FloatArray) -> Iterator[FloatArray]:
    """Columns of the modes in bands of 8, 8, 16, 32 ...; a last band smaller than the one before joins it."""
    n = modes.shape[1]
    edges, edge = [0], FIRST_BAND
    while edge + edge // 2 <= n:
        edges.append(edge)
        edge *= 2
    for start, stop in zip(edges, [*edges[1:], n], strict=True):
        yield modes[:, start:stop]


def _skew_rotation(gaussian: FloatArray) -> FloatArray:
    """The orthogonal factor of ``G - G^T``: ``b^T Q b = 0`` and ``|Q b| = |b|`` for every b.

    It turns with the basis of the band, so that signs and order of eigenvectors, which differ between machines, do not
    matter. A band of odd size has one direction that is mapped to zero.
    """
    u, values, vt = np.linalg.svd(gaussian - gaussian.T)
    kept = values > 1e-9 * max(values.max(initial=0.0), 1e-300)
    return np.asarray(u[:, kept] @ vt[kept])


class RandomNetwork:
    """An injective random network: orthogonal maps, the first one widening, each followed by leaky units.

    Args:
        settings: sizes, slope and seed.
        centre: (n_genes,) subtracted from the input.
        scale: (n_genes,) the input is divided by.
    """

    def __init__(self, settings: SemisyntheticSettings, centre: FloatArray, scale: FloatArray) -> None:
        self.slope, self.centre, self.scale = settings.slope, centre, scale
        generator = settings.stream("network")
        self.maps: list[FloatArray] = []
        width = settings.n_genes
        for _ in range(settings.layers):
            self.maps.append(_isometry(generator.standard_normal((width, settings.dim))))
            width = settings.dim

    def __call__(self, noisy: FloatArray) -> FloatArray:
        """(n_spots, n_genes) noisy expression to (n_spots, dim) features."""
        hidden = (noisy - self.centre) / self.scale
        for weights in self.maps:
            hidden = hidden @ weights * np.sqrt(weights.shape[1] / weights.shape[0])
            hidden = np.where(hidden > 0, hidden, self.slope * hidden)
        return hidden

    def inverse(self, features: FloatArray) -> FloatArray:
        """The noisy expression behind features: nothing was lost."""
        hidden = features
        for weights in reversed(self.maps):
            hidden = np.where(hidden > 0, hidden, hidden / self.slope)
            hidden = hidden @ weights.T * np.sqrt(weights.shape[0] / weights.shape[1])
        return np.asarray(hidden * self.scale + self.centre)


def _isometry(gaussian: FloatArray) -> FloatArray:
    """(rows, columns) with orthonormal rows, uniformly distributed; the polar factor is the same on every machine."""
    u, _, vt = np.linalg.svd(gaussian, full_matrices=False)
    return np.asarray(u @ vt)
