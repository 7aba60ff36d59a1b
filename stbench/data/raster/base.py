"""What an open picture is, and how much memory one may take."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from stbench.data.image import ImageArray
from stbench.reading import Limit

WHITE = 255
_BYTES_PER_PX = 3
SAVE_AS_RGB = "save it as 8-bit RGB in a TIFF, JPEG or PNG"
PICTURE = Limit("STBENCH_MAX_PICTURE_GB", 6)
"""Pixels that are decoded at once: all of a JPEG or PNG, a tile, a level of a pyramid that is looked at as a whole."""


class UnsupportedError(Exception):
    """An intact picture that is not read; the message says what was expected, what was found and what to do."""


class Level(Protocol):
    """A picture, or a reduced copy of it in the same file; both lie in pixels of their own."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, from the header."""

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        """(height, width, 3) pixels of a rectangle that lies inside."""


class Raster(AbstractContextManager["Raster"]):
    """An open picture.

    Attributes:
        size: (width, height) in pixels, from the header.
    """

    size: tuple[int, int]

    @abstractmethod
    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        """(height, width, 3) pixels of a rectangle that lies inside the picture."""

    @abstractmethod
    def coarse(self, longest_px: int) -> ImageArray:
        """The whole picture, reduced as far as is cheap while its longest side stays at least ``longest_px``."""

    @property
    def levels(self) -> Sequence[Level]:
        """The picture, then its reduced copies."""
        return [self]

    @property
    def mended(self) -> bool:
        """Whether the picture is shown otherwise than before its colour model was looked at."""
        return False

    def close(self) -> None:
        """Release the file."""

    def __exit__(self, *error: object) -> None:
        self.close()


class Layered(Raster):
    """An open picture that is read by region, with or without reduced copies.

    Args:
        levels: the picture, then its reduced copies.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels, self.size = levels, levels[0].size

    @property
    def levels(self) -> Sequence[Level]:
        """The picture, then its reduced copies."""
        return self._levels

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        return self._levels[0].region(left, top, width, height)

    def coarse(self, longest_px: int) -> ImageArray:
        level = self._coarsest(longest_px)
        check_memory(*level.size, _BYTES_PER_PX)
        return level.region(0, 0, *level.size)

    def _coarsest(self, longest_px: int) -> Level:
        """The smallest level whose longest side is at least ``longest_px``, else the picture."""
        enough = [level for level in self._levels if max(level.size) >= longest_px] or self._levels[:1]
        return min(enough, key=lambda level: max(level.size))


def check_memory(width: int, height: int, bytes_per_px: int) -> None:
    """Raise UnsupportedError where pixels that are decoded at once take more than :data:`PICTURE`."""
    needed = width * height * bytes_per_px / 1e9
    if needed > PICTURE.gb:
        raise UnsupportedError(
            f"expected pixels decoded at once of at most {PICTURE.gb:g} GB, found {width} x {height} px, which take "
            f"{needed:.1f} GB; store it as a tiled, pyramidal TIFF, or set {PICTURE.variable}={int(needed) + 1}"
        )
