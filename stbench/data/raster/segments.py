"""Pictures that are decoded in pieces: what a region touches, the pieces decoded last being kept."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict

import numpy as np

from stbench.data.image import ImageArray
from stbench.data.raster.base import WHITE

_KEPT_SEGMENTS = 4


class Segments(ABC):
    """A level of a picture in tiles, strips or chunks of one size.

    Args:
        size: (width, height) in pixels.
        segment: (width, height) of a segment; those at the right and lower margin may hold less.

    Attributes:
        kept_bytes: of pixels that are kept, or those of four segments where these are more.
    """

    kept_bytes = 2**28

    def __init__(self, size: tuple[int, int], segment: tuple[int, int]) -> None:
        self.size, (self._wide, self._tall) = size, segment
        self._across, self._down = (math.ceil(a / b) for a, b in zip(size, segment, strict=True))
        self._kept: OrderedDict[tuple[int, int], ImageArray] = OrderedDict()

    @abstractmethod
    def _decoded(self, row: int, column: int) -> ImageArray:
        """(height, width, 3) pixels of a segment inside the picture; (0, 0, 3) where nothing is on it."""

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        """(height, width, 3) pixels of a rectangle that lies inside."""
        found = np.full((height, width, 3), WHITE, dtype=np.uint8)
        for row in range(top // self._tall, math.ceil((top + height) / self._tall)):
            for column in range(left // self._wide, math.ceil((left + width) / self._wide)):
                _paste(found, self._segment(row, column), row * self._tall - top, column * self._wide - left)
        return found

    def _segment(self, row: int, column: int) -> ImageArray:
        place = (row, column)
        if place not in self._kept:
            self._kept[place] = self._decoded(row, column)
            while (
                len(self._kept) > _KEPT_SEGMENTS and sum(kept.nbytes for kept in self._kept.values()) > self.kept_bytes
            ):
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place]


def _paste(found: ImageArray, segment: ImageArray, top: int, left: int) -> None:
    bottom, right = min(top + segment.shape[0], found.shape[0]), min(left + segment.shape[1], found.shape[1])
    if bottom > max(top, 0) and right > max(left, 0):
        source = segment[max(-top, 0) : bottom - top, max(-left, 0) : right - left]
        found[max(top, 0) : bottom, max(left, 0) : right] = source
