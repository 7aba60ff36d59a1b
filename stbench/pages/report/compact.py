"""Numbers in as few letters as a page can read again: one letter of base64 for each of 64 levels."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ABSENT = "."
_LEVELS = len(LETTERS)
_QUALITY = 70  # of pictures, WebP


def levels(values: ArrayLike, low: float, high: float) -> str:
    """One letter per value: its level of 64 between two ends, the end itself beyond it, a dot where there is none."""
    given = np.asarray(values, dtype=np.float64).ravel()
    share = np.clip((given - low) / (high - low), 0, 1)
    found = np.rint(np.nan_to_num(share) * (_LEVELS - 1)).astype(np.int64)
    return _spelt(np.where(np.isfinite(given), found, _LEVELS))


def places(xy: ArrayLike, low: NDArray[np.float64], size: NDArray[np.float64]) -> str:
    """Four letters per spot: x and y in 4096ths of a box.

    Args:
        xy: (n_spots, 2) centres.
        low: (2,) least x and y of the box, same unit.
        size: (2,) its width and height.
    """
    steps = np.rint(np.clip((np.asarray(xy, dtype=np.float64) - low) / size, 0, 1) * (_LEVELS**2 - 1)).astype(np.int64)
    return _spelt(np.stack([steps // _LEVELS, steps % _LEVELS], axis=-1).ravel())


def _spelt(numbers: NDArray[np.int64]) -> str:
    return np.frombuffer((LETTERS + ABSENT).encode(), dtype="S1")[numbers].tobytes().decode()


def palette(name: str) -> list[str]:
    """The 64 colours of a colour map, from low to high."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in colormaps[name](np.linspace(0, 1, _LEVELS))]


def data_uri(picture: NDArray[np.uint8]) -> str:
    """A (height, width, 3) picture as a compressed part of the page."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def rounded(value: float | None, digits: int = 3) -> Any:
    """A number as a page prints it, None where there is none."""
    return None if value is None or not np.isfinite(value) else round(value, digits)
