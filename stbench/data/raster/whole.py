"""A JPEG or PNG, which can only be decoded as a whole."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stbench.data.image import ImageArray
from stbench.data.raster.base import SAVE_AS_RGB, Raster, UnsupportedError, check_memory
from stbench.data.raster.colour import check_upright, on_white
from stbench.data.raster.ends import ends_early

_BYTES_PER_PX = 8  # Pillow keeps four, the array takes three
_BAND_PX = 2**24
_ORIENTATION = 274
_TRANSPARENCY = "transparency"


class Whole(Raster):
    """An open JPEG or PNG.

    Raises:
        UnsupportedError: pixels of another depth, or a picture that viewers turn.
        SyntaxError: the file is damaged.
    """

    def __init__(self, path: Path, png: bool) -> None:
        from PIL.JpegImagePlugin import JpegImageFile
        from PIL.PngImagePlugin import PngImageFile

        self._path, self._png = path, png
        # The format's own class, since Image.open refuses large pictures by a limit that all of a process shares.
        self._file = _opened(path, PngImageFile if png else JpegImageFile)
        self.size = self._file.size
        if not png or "exif" in self._file.info:  # those of a PNG may follow its pixels
            self._check_upright()

    @property
    def mended(self) -> bool:
        """Whether one colour is said to be transparent; before it was shown."""
        return _TRANSPARENCY in self._file.info and self._file.mode not in ("P", "PA")

    @cached_property
    def _pixels(self) -> ImageArray:
        check_memory(*self.size, _BYTES_PER_PX)
        clear = self._file.mode in ("RGBA", "LA", "P", "PA") or _TRANSPARENCY in self._file.info
        if self._file.mode not in ("RGBA", "LA", "P", "PA", "RGB", "L", "1", "CMYK", "YCbCr"):
            raise UnsupportedError(
                f"expected 8-bit samples, found pixels of mode {self._file.mode}; scale them to 0-255 and {SAVE_AS_RGB}"
            )
        self._file.load()
        self._check_complete()
        self._check_upright()
        width, height = self.size
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        rows = max(1, _BAND_PX // width)
        for top in range(0, height, rows):
            band = self._file.crop((0, top, width, min(top + rows, height)))
            pixels[top : top + rows] = np.asarray(on_white(band.convert("RGBA")) if clear else _rgb(band))
        return pixels

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        return self._pixels[top : top + height, left : left + width]

    def coarse(self, longest_px: int) -> ImageArray:
        return self._pixels

    def close(self) -> None:
        self._file.close()

    def _check_complete(self) -> None:
        stat = self._path.stat()
        if ends_early(self._path, stat.st_size, stat.st_mtime_ns, self._png):
            raise ValueError("pixels that end early, before the end of the file")

    def _check_upright(self) -> None:
        try:
            check_upright(_orientation(self._file))
        except UnsupportedError:
            self.close()
            raise


def _rgb(picture: Any) -> Any:
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _opened(path: Path, kind: type[Any]) -> Any:
    try:
        return kind(path)
    except SyntaxError as error:
        if "cannot handle" in str(error):
            raise UnsupportedError(f"expected 8-bit samples, found: {error}; {SAVE_AS_RGB}") from error
        raise


def _orientation(file: Any) -> Any:
    """As cameras note it; None where their notes cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return file.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001  notes in any state, of no use to the pixels
        return None
