"""A rendering of tissue on a background that was painted black, shown on its own glass."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageArray
from stbench.data.raster.base import WHITE, Raster, check_memory

_BYTES_PER_PX = 16  # labels of connected pixels beside the picture
_LEFT_PX = 3  # of glass that was left around the tissue, looked at for its colour
_LIGHT = 160  # every channel of glass, stained or not
Mask = NDArray[np.bool_]


class OnGlass(Raster):
    """An open picture whose painted background has the colour of its glass.

    Pure white would be the lightest colour there is, and with it the white point of what reads stains.

    Args:
        raster: the picture as it is stored.
    """

    def __init__(self, raster: Raster) -> None:
        self._raster, self.size = raster, raster.size

    @cached_property
    def paint(self) -> Mask:
        """(height, width) where the background was painted; nowhere on a picture without."""
        return painted(self._whole)

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        return self._shown[top : top + height, left : left + width]

    def coarse(self, longest_px: int) -> ImageArray:
        return self._shown

    @cached_property
    def _whole(self) -> ImageArray:
        check_memory(*self.size, _BYTES_PER_PX)
        return self._raster.region(0, 0, *self.size)

    @cached_property
    def _shown(self) -> ImageArray:
        return np.where(self.paint[..., None], glass(self._whole, self.paint), self._whole)


def painted(pixels: ImageArray) -> Mask:
    """Where a background was painted: pixels of exactly 0, 0, 0 that reach the rim through others of that kind.

    So are the pixels beside them, which are blended with the paint, and pictures pasted upon it: what touches the rim
    and fills a rectangle to the last pixel, unless it is the largest piece there is.

    Args:
        pixels: (height, width, 3) RGB.

    Returns:
        (height, width) mask; dark pixels inside the tissue are not in it.
    """
    import cv2

    black = _at_rim(np.asarray(pixels.max(axis=2) == 0))
    if not black.any():
        return black
    blended = cv2.dilate(black.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)).astype(np.bool_)
    return blended | _pasted(~black)


def glass(pixels: ImageArray, paint: Mask) -> ImageArray:
    """(3,) colour of the glass around tissue: the median beside the paint, white where that is dark or nothing is left.

    Args:
        pixels: (height, width, 3) RGB.
        paint: (height, width) where the background was painted.
    """
    import cv2

    side = 2 * _LEFT_PX + 1
    beside = cv2.dilate(paint.astype(np.uint8), np.ones((side, side), dtype=np.uint8)).astype(np.bool_) & ~paint
    found = np.median(pixels[beside], axis=0) if beside.any() else np.zeros(3)
    return np.asarray(found if found.min() >= _LIGHT else np.full(3, WHITE), dtype=np.uint8)


def _at_rim(mask: Mask) -> Mask:
    """The parts of a mask that reach the rim."""
    import cv2

    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, rim[rim > 0])


def _pasted(mask: Mask) -> Mask:
    """The parts of a mask that reach the rim and are rectangles, without the largest part."""
    import cv2

    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    height, width = mask.shape
    left, top, across, down, area = stats.T.astype(np.int64)
    rim = (left == 0) | (top == 0) | (left + across == width) | (top + down == height)
    found = rim & (area == across * down) & (area < area[1:].max(initial=0))
    return np.isin(labels, np.flatnonzero(found & (np.arange(n) > 0)))
