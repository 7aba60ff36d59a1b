"""handcrafted-v1: a patch descriptor without learned parameters, 153 numbers per H&E patch.

Blocks in order: stain moments (30), local binary patterns (40), grey-level co-occurrence (36), band energy (30),
nuclei (17). Deterministic, and finite for constant patches.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError
from stbench.features.handcrafted_nuclei import nuclei
from stbench.features.handcrafted_texture import band_energy, cooccurrence, local_binary_patterns

NAME = "handcrafted-v1"
DIM = 153
MIN_SIDE_PX = 64
REFERENCE_UM_PER_PX = 0.7  # the pixel size the filter widths are stated for
DEFAULT_WHITE = 245.0

_HAEMATOXYLIN = (0.650, 0.704, 0.286)
_EOSIN = (0.072, 0.990, 0.105)
_PERCENTILES = np.array([0.05, 0.25, 0.50, 0.75, 0.95])
_H_TO_8BIT = 170.0
_FLAT = 1e-6  # below this standard deviation a channel counts as constant

ByteImage = NDArray[np.uint8]
FloatImage = NDArray[np.float32]


def descriptor(patch: ByteImage, white_point: NDArray[np.float64], scale: float = 1.0) -> NDArray[np.float64]:
    """Describe one patch.

    Args:
        patch: (side, side, 3) RGB, side at least 64 px.
        white_point: (3,) colour of bare glass on the slide, 0-255.
        scale: factor of every filter width, 0.7 divided by the patch's micrometres per pixel; 1 when unknown.

    Returns:
        (153,) finite numbers.

    Raises:
        DataError: the patch is not a square RGB picture of at least 64 px.
    """
    side = patch.shape[0]
    if patch.shape != (side, side, 3) or patch.dtype != np.uint8 or side < MIN_SIDE_PX:
        raise DataError(
            f"{NAME} expected (side, side, 3) uint8 patches of at least {MIN_SIDE_PX} px, "
            f"found {patch.shape} {patch.dtype}; choose a larger patch"
        )
    stains = stain_concentrations(patch, white_point)
    H, E = (np.ascontiguousarray(stains[..., channel]) for channel in (0, 1))
    H8 = np.rint(np.clip(H * np.float32(_H_TO_8BIT), 0, 255)).astype(np.uint8)
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    lightness = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB)[..., 0] / np.float32(255)
    return np.concatenate(
        [
            _stain_moments(stains),
            *(local_binary_patterns(image) for image in (H8, grey, _shrink(H8, 2), _shrink(grey, 4))),
            cooccurrence(H8),
            cooccurrence(grey),
            band_energy(np.dstack([H, E, lightness]), scale),
            nuclei(H, E, scale),
        ]
    )


def stain_concentrations(patch: ByteImage, white_point: NDArray[np.float64]) -> FloatImage:
    """Haematoxylin, eosin and residual per pixel (Ruifrok and Johnston's colour deconvolution).

    Args:
        patch: (height, width, 3) RGB.
        white_point: (3,) colour of bare glass, 0-255.

    Returns:
        (height, width, 3) optical density per stain, log10 units.
    """
    levels = (np.arange(256.0)[:, None] + 1) / (np.asarray(white_point, dtype=np.float64) + 1)
    density = -np.log10(np.clip(levels, 1e-3, 1)).astype(np.float32)
    density += np.float32(0)  # -log10(1) is minus zero
    stains: FloatImage = cv2.transform(cv2.LUT(patch, density.reshape(1, 256, 3)), _UNMIXING)
    return stains


def _unmixing() -> NDArray[np.float32]:
    first, second = (np.array(stain) / np.linalg.norm(stain) for stain in (_HAEMATOXYLIN, _EOSIN))
    third = np.cross(first, second)
    mixing = np.stack([first, second, third / np.linalg.norm(third)])
    return np.linalg.inv(mixing).T.astype(np.float32)


_UNMIXING = _unmixing()


def _shrink(image: ByteImage, factor: int) -> ByteImage:
    side = image.shape[0] // factor
    small: ByteImage = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return small


def _stain_moments(stains: FloatImage) -> NDArray[np.float64]:
    channels = np.ascontiguousarray(stains.reshape(-1, 3).T)
    deviations = [channel - channel.mean(dtype=np.float64) for channel in channels]
    sds = [math.sqrt(_mean_product(deviation, deviation)) for deviation in deviations]
    moments = [_moments(*each) for each in zip(channels, deviations, sds, strict=True)]
    pairs = [_correlation(deviations[i], deviations[j], sds[i] * sds[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    return np.concatenate([*moments, pairs])


def _moments(values: FloatImage, deviation: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """Mean, sd, skewness, excess kurtosis and five percentiles of one channel."""
    percentiles = _percentiles(values)
    if sd < _FLAT:
        return np.array([values.mean(dtype=np.float64), 0, 0, 0, *percentiles])
    squared = deviation * deviation
    skewness = _mean_product(squared, deviation) / sd**3
    kurtosis = _mean_product(squared, squared) / sd**4 - 3
    return np.array([values.mean(dtype=np.float64), sd, skewness, kurtosis, *percentiles])


def _percentiles(values: FloatImage) -> NDArray[np.float64]:
    ordered = np.sort(values)  # full sort: vectorised, and faster here than selecting five ranks
    rank = _PERCENTILES * (len(ordered) - 1)
    below = rank.astype(np.int64)
    low, high = ordered[below].astype(np.float64), ordered[below + 1].astype(np.float64)
    return np.asarray(low + (rank - below) * (high - low))


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64], scale: float) -> float:
    return _mean_product(first, second) / scale if scale > _FLAT**2 else 0.0


def _mean_product(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    # einsum, not dot: results of BLAS depend on its number of threads
    return float(np.einsum("i,i->", first, second)) / len(first)
