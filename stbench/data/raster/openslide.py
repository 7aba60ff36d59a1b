"""A whole slide in a scanner's own format, region by region and level by level, through OpenSlide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stbench.data.image import ImageArray
from stbench.data.raster.base import Layered, UnsupportedError, check_memory
from stbench.data.raster.colour import on_white

_KEPT_BYTES = 2**28  # of tiles: those of three rows of a slide, so that each is decoded once
_BAND_PX = 2**24
_BYTES_PER_PX = 3
_GENERIC = "generic-tiff"


class Slide(Layered):
    """An open slide. Its pixels are counted from OpenSlide's own corner, also where the scan begins further in.

    Raises:
        UnsupportedError: OpenSlide is not installed, or the slide's other files are missing.
        openslide.OpenSlideError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        library = _library(path)
        _check_folder(path)
        self._slide = library.OpenSlide(path)
        self._slide.set_cache(library.OpenSlideCache(_KEPT_BYTES))
        super().__init__([_Level(self._slide, number) for number in range(self._slide.level_count)])

    def coarse(self, longest_px: int) -> ImageArray:
        level = self._coarsest(longest_px)
        width, height = level.size
        check_memory(width, height, _BYTES_PER_PX)
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        rows = max(1, _BAND_PX // width)
        for top in range(0, height, rows):
            band = pixels[top : top + rows]
            band[:] = level.region(0, top, width, len(band))
        return pixels

    @property
    def pixel_um(self) -> tuple[float, float] | None:
        """Width and height of a full-resolution pixel in micrometres, None where they are not said."""
        x, y = (self._slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy")
        return None if x is None or y is None else (float(x), float(y))

    def close(self) -> None:
        self._slide.close()


class _Level:
    """One level of an open slide, in pixels of its own."""

    def __init__(self, slide: Any, number: int) -> None:
        self._slide, self._number = slide, number
        self.size = (int(slide.level_dimensions[number][0]), int(slide.level_dimensions[number][1]))

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        corner = np.rint(np.multiply((left, top), np.divide(self._slide.dimensions, self.size))).astype(int)
        return np.asarray(on_white(self._slide.read_region(tuple(corner.tolist()), self._number, (width, height))))


def _check_folder(path: Path) -> None:
    """Raise UnsupportedError where the pixels of a MIRAX slide are not beside it."""
    if path.suffix.lower() == ".mrxs" and not path.with_suffix("").is_dir():
        raise UnsupportedError(
            f"expected the folder {path.stem} of its pixels beside it, found none; put it into {path.parent}"
        )


def knows(path: Path) -> bool:
    """Whether OpenSlide is there and knows a file as that of a scanner, rather than as any TIFF."""
    try:
        return _library(path).OpenSlide.detect_format(path) not in (None, _GENERIC)
    except UnsupportedError:
        return False


def _library(path: Path) -> Any:
    try:
        import openslide
    except (ImportError, OSError) as error:  # without the binary it fails in ctypes
        raise UnsupportedError(
            f"expected OpenSlide for a slide in {path.suffix or 'this format'}, found none; pip install 'stbench[wsi]'"
        ) from error
    return openslide
