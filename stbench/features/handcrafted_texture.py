"""Texture blocks of handcrafted-v1: local binary patterns, grey-level co-occurrence, band energy."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

ByteImage = NDArray[np.uint8]
FloatImage = NDArray[np.float32]

_LEVELS = 16
_EXACT = 2**24  # what OpenCV counts is float32
_DISTANCES = (1, 3, 8)
_BAND_SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)


def _pattern_bins() -> NDArray[np.int64]:
    """Bin of each 8-bit ring: its number of ones if it has at most two changes around the ring, else 9."""
    rings = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = np.sum(rings != np.roll(rings, 1, axis=1), axis=1)
    bins: NDArray[np.int64] = np.where(changes <= 2, rings.sum(axis=1), 9)
    return bins


_PATTERN_BINS = _pattern_bins()


def local_binary_patterns(image: ByteImage) -> NDArray[np.float64]:
    """Histogram of rotation-invariant uniform patterns, 8 neighbours, radius 1, inner pixels only.

    A diagonal neighbour lies between pixels: minus the centre its bilinear value is
    ``((D - c) + (sqrt(2) - 1) (S1 + S2 - 2c)) / 2`` with corner D and sides S1, S2. With 29/70 for sqrt(2) - 1 its sign
    is exact in 16-bit integers, so flat regions and quarter turns give the same patterns.

    Args:
        image: (height, width) grey values.

    Returns:
        (10,) shares that sum to 1.
    """
    values = image.astype(np.int16)
    centre = values[1:-1, 1:-1]
    height, width = centre.shape
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    steps = [values[1 + y : 1 + y + height, 1 + x : 1 + x + width] - centre for y, x in ring]
    code = np.zeros(centre.shape, dtype=np.uint8)
    for bit in range(8):
        step = steps[bit]
        if bit % 2 == 0:
            step = 70 * step + 29 * (steps[bit - 1] + steps[(bit + 1) % 8])
        code |= (step >= 0).astype(np.uint8) << np.uint8(bit)
    return np.bincount(_PATTERN_BINS, weights=_histogram(code), minlength=10) / code.size


def _histogram(values: ByteImage) -> NDArray[np.float64]:
    """(256,) how often each value is there."""
    if values.size > _EXACT:
        return np.bincount(values.ravel(), minlength=256).astype(np.float64)
    return cv2.calcHist([values], [0], None, [256], (0, 256)).astype(np.float64).ravel()


def _cooccurrence_matrix(levels: ByteImage, distance: int) -> NDArray[np.float64]:
    """(16, 16) symmetric joint distribution of the levels of pixel pairs, four directions pooled."""
    height, width = levels.shape
    diagonal = round(distance / math.sqrt(2))
    counts = np.zeros(_LEVELS * _LEVELS)
    scaled = levels * np.uint8(_LEVELS)
    for down, right in ((0, distance), (distance, 0), (diagonal, diagonal), (diagonal, -diagonal)):
        left, there = max(0, -right), max(0, right)
        columns = width - abs(right)
        first = scaled[: height - down, left : left + columns]
        second = levels[down:, there : there + columns]
        counts += _histogram(first + second)
    joint = counts.reshape(_LEVELS, _LEVELS)
    joint = joint + joint.T
    return np.asarray(joint / joint.sum())


def cooccurrence(image: ByteImage) -> NDArray[np.float64]:
    """Co-occurrence statistics at 1, 3 and 8 px, 16 grey levels.

    Args:
        image: (height, width) grey values.

    Returns:
        (18,) contrast, dissimilarity, homogeneity, angular second moment, correlation (0 when undefined) and entropy
        (nats) for each distance.
    """
    levels = image >> np.uint8(4)
    return np.concatenate([_haralick(_cooccurrence_matrix(levels, distance)) for distance in _DISTANCES])


def _haralick(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    level = np.arange(_LEVELS)
    gap = level[:, None] - level[None, :]
    mean = joint.sum(axis=1) @ level
    variance = joint.sum(axis=1) @ (level - mean) ** 2
    covariance = ((level - mean)[:, None] * (level - mean)[None, :] * joint).sum()
    present = joint[joint > 0]
    return np.array(
        [
            (joint * gap**2).sum(),
            (joint * np.abs(gap)).sum(),
            (joint / (1 + gap**2)).sum(),
            (joint**2).sum(),
            covariance / variance if variance > 1e-12 else 0.0,
            -(present * np.log(present)).sum(),
        ]
    )


def blur(image: FloatImage, sigma: float) -> FloatImage:
    """Gaussian blur, cut at three standard deviations, mirrored at the border."""
    radius = max(1, math.ceil(3 * sigma))
    size = (2 * radius + 1, 2 * radius + 1)
    blurred: FloatImage = cv2.GaussianBlur(image, size, sigma, borderType=cv2.BORDER_REFLECT_101)
    return blurred


def blur_further(image: FloatImage, done: float, wanted: float) -> FloatImage:
    """Blur an image of width ``done`` to width ``wanted``: variances of Gaussians add."""
    return blur(image, math.sqrt(wanted**2 - done**2))


def band_energy(channels: FloatImage, scale: float) -> NDArray[np.float64]:
    """Energy of the bands between Gaussian blurs of width 0, 1, 2, 4, 8 and 16 px times ``scale``.

    Args:
        channels: (height, width, c) values.
        scale: factor of the widths.

    Returns:
        (c * 10,) for each channel sd and mean absolute value of the five bands, finest first.
    """
    energies = []
    current, done = channels, 0.0
    for sigma in _BAND_SIGMAS:
        coarser = blur_further(current, done, sigma * scale)
        _, sd = cv2.meanStdDev(cv2.subtract(current, coarser))
        mean_absolute = cv2.mean(cv2.absdiff(current, coarser))[: len(sd)]
        energies.append(np.column_stack([sd[:, 0], mean_absolute]))
        current, done = coarser, sigma * scale
    return np.concatenate(energies, axis=1).ravel()
