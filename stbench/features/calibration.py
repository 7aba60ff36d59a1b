"""One fixed tile that every encoder of pictures describes: who does not describe it alike is another encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stbench.errors import SettingError
from stbench.features.cache import cached
from stbench.features.encoder import Encoder
from stbench.files import whole

_VERSION = 1  # raise it when the tile changes
SIDE_PX, UM_PER_PX, WHITE = 224, 0.5, 245.0
TOLERANCE = 0.02
"""Largest distance, relative to the length of the vector: rounding of float16 networks and of other processors."""
_GRAIN = (4, 16, 64)  # pixels: nuclei, glands, stroma
_STAIN = np.array([[90.0, 60.0, 130.0], [225.0, 160.0, 195.0]])  # haematoxylin over eosin, RGB


def tile(side: int = SIDE_PX) -> NDArray[np.uint8]:
    """(side, side, 3) RGB: noise of several grains between two stains, the same everywhere."""
    generator, field = np.random.default_rng(0), np.zeros((side, side))
    for grain in _GRAIN:
        n = -(-side // grain)
        field += np.kron(generator.random((n, n)), np.ones((grain, grain)))[:side, :side]
    share = (field / len(_GRAIN))[..., None]
    return np.rint(share * _STAIN[0] + (1 - share) * _STAIN[1]).astype(np.uint8)


def write_tile(path: Path) -> None:
    """Write the tile as a PNG, for encoders that are run elsewhere: what they make of it belongs beside their features.

    Raises:
        SettingError: the path does not end in .png.
        UserError: it cannot be written.
    """
    from PIL import Image

    if path.suffix.lower() != ".png":
        raise SettingError(f"--tile: expected the name of a .png, which keeps every pixel, found {path}; name one")
    with whole(path) as part:
        Image.fromarray(tile()).save(part, format="PNG")


def calibration(encoder: Encoder, cache_dir: Path | None = None) -> list[float]:
    """(dim,) what an encoder makes of the tile, at half a micrometre per pixel.

    Args:
        encoder: its network is loaded unless the cache knows the answer.
        cache_dir: folder of the feature cache, None computes anew.
    """

    def compute() -> NDArray[np.float16]:
        batch = tile(SIDE_PX * encoder.context)[None]
        found = encoder.encode(batch, white_point=np.full(3, WHITE), um_per_px=UM_PER_PX)
        return found.astype(np.float16)

    key = hashlib.sha256(f"calibration {_VERSION} {encoder.key}".encode()).hexdigest()
    row = compute() if cache_dir is None else cached(cache_dir, key, compute)
    return [float(f"{value:.4g}") for value in row[0]]


def is_same(one: list[float], other: list[float]) -> bool:
    """Whether two vectors of the tile are of one encoder."""
    if len(one) != len(other):
        return False
    first, second = np.asarray(one), np.asarray(other)
    return bool(np.linalg.norm(first - second) <= TOLERANCE * max(np.linalg.norm(first), np.linalg.norm(second)))
