"""Nuclei block of handcrafted-v1: blobs of haematoxylin found with a scale-normalised Laplacian of Gaussian."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stbench.features.handcrafted_texture import blur, blur_further

FloatImage = NDArray[np.float32]

_SIGMAS = (2.0, 2.8, 4.0, 5.6)
_WINDOW_PX = 5
_WEAKEST = 0.06
_STRONG = 0.12
_FEWEST = 4  # below this number spacing and colour say nothing
_H_BLUR = 1.5
_E_BLUR = 6.0


def nuclei(H: FloatImage, E: FloatImage, scale: float) -> NDArray[np.float64]:
    """Density, colour and spacing of dark blobs.

    Args:
        H: (height, width) haematoxylin.
        E: (height, width) eosin.
        scale: factor of the blob sizes and of the window in which a blob is the strongest.

    Returns:
        (17,) blobs per 10,000 px in total and at each of four sizes, strong blobs per 10,000 px; at the blobs mean, sd
        and 90th percentile of H, mean and sd of E, mean and sd of the response; mean and sd of the distance to the
        nearest blob, mean distance to the third, mean size (px). The last eleven are 0 for fewer than four blobs.
    """
    responses = _responses(H, scale)
    rows, columns = _peaks(reduce(cv2.max, responses), scale)
    response, size_of = (found(responses[:, rows, columns], axis=0) for found in (np.max, np.argmax))
    response = response.astype(np.float64)
    per_size = np.bincount(size_of, minlength=len(_SIGMAS))
    counts = np.array([len(rows), *per_size, np.sum(response > _STRONG)])
    density = counts * (1e4 / H.size)
    if len(rows) < _FEWEST:
        return np.concatenate([density, np.zeros(11)])
    dark = blur(H, _H_BLUR * scale)[rows, columns].astype(np.float64)
    pink = blur(E, _E_BLUR * scale)[rows, columns].astype(np.float64)
    nearest, third = _spacing(np.column_stack([rows, columns]))
    sizes = np.array(_SIGMAS)[size_of] * scale
    colour = [dark.mean(), dark.std(), np.quantile(dark, 0.9), pink.mean(), pink.std(), response.mean(), response.std()]
    return np.concatenate([density, colour, [nearest.mean(), nearest.std(), third.mean(), sizes.mean()]])


def _spacing(places: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each place to its nearest and to its third neighbour."""
    distances = np.asarray(cKDTree(places).query(places, k=_FEWEST)[0], dtype=np.float64)
    return distances[:, 1], distances[:, 3]


def _responses(H: FloatImage, scale: float) -> FloatImage:
    """(4, height, width) minus sigma squared times the Laplacian of H blurred by sigma."""
    responses = np.empty((len(_SIGMAS), *H.shape), dtype=np.float32)
    current, done = H, 0.0
    for index, sigma in enumerate(_SIGMAS):
        current = blur_further(current, done, sigma * scale)
        done = sigma * scale
        cv2.Laplacian(current, cv2.CV_32F, dst=responses[index], ksize=1, scale=-(done**2))
    return responses


def _peaks(response: FloatImage, scale: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    window = max(3, 2 * round((_WINDOW_PX * scale - 1) / 2) + 1)
    highest = cv2.dilate(response, np.ones((window, window), dtype=np.uint8))
    rows, columns = np.nonzero((response == highest) & (response > _WEAKEST))
    return rows, columns
