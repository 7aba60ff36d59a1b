"""A picture that is an array in an HDF5 file, as scanpy and squidpy keep them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageArray
from stbench.data.raster.base import WHITE, Raster, UnsupportedError, check_memory
from stbench.data.raster.colour import on_white
from stbench.data.unwritten import unwritten

_BAND_PX = 2**22
_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
_BEYOND = 0.05  # of the range: what resampling adds to a picture of 0 to 1


class Stored(Raster):
    """An open array of (height, width) or (height, width, 1 | 3 | 4): 0 to 1 where it is floating, else 0 to 255.

    Args:
        array: an h5py.Dataset; only its header is read before a region is asked for.

    Raises:
        UnsupportedError: another shape or type, or rows that were never written.
    """

    def __init__(self, array: Any) -> None:
        shape, kind = tuple(array.shape or ()), array.dtype.kind
        channels = shape[2] if len(shape) == 3 else 1 if len(shape) == 2 else 0
        if channels not in _CHANNELS or min(shape) < 1 or kind not in "uif":
            raise UnsupportedError(
                f"expected numbers of shape (height, width), with 3 channels or 4, found {shape} {array.dtype}; store "
                "it as RGB of type uint8"
            )
        if unwritten(array):
            raise UnsupportedError("expected a whole picture, found rows never written; make the file again")
        self._array, self._channels, self.size = array, channels, (int(shape[1]), int(shape[0]))

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        return self._pixels[top : top + height, left : left + width]

    def coarse(self, longest_px: int) -> ImageArray:
        return self._pixels

    @cached_property
    def _pixels(self) -> ImageArray:
        width, height = self.size
        check_memory(width, height, 3)
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        for rows in self.bands():
            band = _levels(np.asarray(self._array[rows]))
            pixels[rows] = _colours(band.reshape(*band.shape[:2], self._channels))
        return pixels

    def bands(self) -> list[slice]:
        """Rows that are read at once, the first on top."""
        rows = max(1, _BAND_PX // self.size[0])
        return [slice(top, min(top + rows, self.size[1])) for top in range(0, self.size[1], rows)]


def _levels(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest of 256 levels; those of a picture that matplotlib read from 8 bits are the ones it read."""
    floating = samples.dtype.kind == "f"
    least, most = (-_BEYOND, 1 + _BEYOND) if floating else (0, WHITE)
    wrong = ~((samples >= least) & (samples <= most))
    if wrong.any():
        raise UnsupportedError(
            f"expected {'0 to 1 in a picture of floating type' if floating else '0 to 255'}, found "
            f"{samples[wrong][0]}; scale it to 0-255 and store it as uint8"
        )
    return np.asarray(np.rint(np.clip(samples, 0, 1) * WHITE) if floating else samples).astype(np.uint8)


def _colours(samples: NDArray[np.uint8]) -> ImageArray:
    from PIL import Image

    if samples.shape[2] == 4:
        return np.asarray(on_white(Image.fromarray(samples, "RGBA")))
    return np.broadcast_to(samples, (*samples.shape[:2], 3))
