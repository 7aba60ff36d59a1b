"""Pixels of a picture on disk, whole (JPEG, PNG) or region by region (TIFF, with or without a pyramid)."""

from __future__ import annotations

import io
import logging
import math
import struct
import zlib
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stbench.data.image import ImageArray
from stbench.errors import DataError
from stbench.reading import check_regular

WHITE = 255
_MAX_DECODED_PX = 10**9  # 3 GB in memory; larger pictures must be a pyramid
_KEPT_BYTES = 2**28
_KEPT_SEGMENTS = 4
_JPEG, _YCBCR, _CONTIGUOUS = 7, 6, 1  # TIFF tags: compression, photometric interpretation, planar configuration
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what is wrong with a file is said once, by raising


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

    def close(self) -> None:
        """Release the file."""

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def open_raster(path: Path) -> Iterator[Raster]:
    """Open a JPEG, PNG or TIFF by what its first bytes say, whatever its name.

    Raises:
        DataError: missing, of another format, larger than fits in memory, truncated or damaged.
    """
    try:
        with _opened(path) as raster:
            yield raster
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"picture {path}: expected an intact JPEG, PNG or TIFF, found: {reason}; obtain the file again"
        ) from error


def _opened(path: Path) -> Raster:
    check_regular(path)
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return _Whole(path, png=magic[1:4] == b"PNG")
    if magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _Tiff(path)
    raise ValueError(f"bytes of another format ({magic.hex() or 'an empty file'})")


class _Whole(Raster):
    """A picture that can only be decoded as a whole."""

    def __init__(self, path: Path, png: bool) -> None:
        from PIL.JpegImagePlugin import JpegImageFile
        from PIL.PngImagePlugin import PngImageFile

        # The format's own class, since Image.open refuses large pictures by a limit that all of a process shares.
        self._file = (PngImageFile if png else JpegImageFile)(path)
        self.size = self._file.size

    @cached_property
    def _pixels(self) -> ImageArray:
        from PIL import Image

        _check_px(self.size)
        if self._file.mode in ("RGBA", "LA", "P", "PA"):
            clear = self._file.convert("RGBA")
            return np.asarray(Image.alpha_composite(Image.new("RGBA", self.size, (WHITE,) * 4), clear).convert("RGB"))
        if self._file.mode not in ("RGB", "L", "1", "CMYK", "YCbCr"):
            raise ValueError(f"pixels of mode {self._file.mode}, not 8-bit RGB")
        return np.asarray(self._file.convert("RGB"))

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        return self._pixels[top : top + height, left : left + width]

    def coarse(self, longest_px: int) -> ImageArray:
        return self._pixels

    def close(self) -> None:
        self._file.close()


class _Tiff(Raster):
    """A TIFF of which only the tiles or strips are decoded that a region touches."""

    def __init__(self, path: Path) -> None:
        import tifffile

        try:
            self._file = tifffile.TiffFile(path)
        except tifffile.TiffFileError as error:
            raise ValueError(str(error)) from error
        try:
            self._levels = _levels(self._file)
        except BaseException:
            self._file.close()
            raise
        self.size = self._levels[0].size

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        return self._levels[0].region(left, top, width, height)

    def coarse(self, longest_px: int) -> ImageArray:
        enough = [level for level in self._levels if max(level.size) >= longest_px] or self._levels[:1]
        level = min(enough, key=lambda level: max(level.size))
        _check_px(level.size)
        return level.region(0, 0, *level.size)

    def close(self) -> None:
        self._file.close()


class _Level:
    """One page of a TIFF.

    Args:
        file: the open tifffile.TiffFile.
        page: its tifffile.TiffPage.
    """

    def __init__(self, file: Any, page: Any) -> None:
        self.file, self.page = file, page
        self.size = (int(page.imagewidth), int(page.imagelength))
        self._kept: OrderedDict[int, ImageArray] = OrderedDict()
        _check_page(page)

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        tall, wide = self.page.chunks[:2]
        found = np.full((height, width, 3), WHITE, dtype=np.uint8)
        for row in range(top // tall, math.ceil((top + height) / tall)):
            for column in range(left // wide, math.ceil((left + width) / wide)):
                segment = self._segment(row * self.page.chunked[1] + column)
                _paste(found, segment, row * tall - top, column * wide - left)
        return found

    def _segment(self, index: int) -> ImageArray:
        if index not in self._kept:
            self._kept[index] = self._decode(index)
            while len(self._kept) > _KEPT_SEGMENTS and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(index)
        return self._kept[index]

    def _decode(self, index: int) -> ImageArray:
        n_bytes = self.page.databytecounts[index]
        self.file.filehandle.seek(self.page.dataoffsets[index])
        data = self.file.filehandle.read(n_bytes)
        if not n_bytes:  # a tile left out because nothing is on it
            return np.empty((0, 0, 3), dtype=np.uint8)
        if len(data) < n_bytes:
            raise ValueError(f"the file ends within segment {index} of {len(self.page.dataoffsets)}")
        if self.page.compression == _JPEG:
            return _decode_jpeg(data, self.page.jpegtables, ycbcr=self.page.photometric == _YCBCR)
        pixels = np.asarray(self.page.decode(data, index)[0])
        pixels = pixels.reshape(pixels.shape[-3:])
        return np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))


def _levels(file: Any) -> list[_Level]:
    """The full picture and its reduced copies, which lie in further pages or below the first."""
    pages = [page for first in file.pages for page in (first, *(first.pages or ()))]
    return [_Level(file, pages[0]), *(_Level(file, page) for page in pages[1:] if _reduces(page, pages[0]))]


def _decode_jpeg(data: bytes, tables: bytes | None, ycbcr: bool) -> ImageArray:
    """Decode a tile whose tables are kept apart; says which colours it holds, as decoders must guess otherwise."""
    from PIL.JpegImagePlugin import JpegImageFile

    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([ycbcr])
    stream = data[:2] + adobe + (tables or b"\xff\xd8\xff\xd9")[2:-2] + data[2:]
    with JpegImageFile(io.BytesIO(stream)) as file:
        return np.asarray(file.convert("RGB"))


def _paste(found: ImageArray, segment: ImageArray, top: int, left: int) -> None:
    bottom, right = min(top + segment.shape[0], found.shape[0]), min(left + segment.shape[1], found.shape[1])
    if bottom > max(top, 0) and right > max(left, 0):
        source = segment[max(-top, 0) : bottom - top, max(-left, 0) : right - left]
        found[max(top, 0) : bottom, max(left, 0) : right] = source


def _reduces(page: Any, full: Any) -> bool:
    """Whether a page is a smaller copy of the full picture, and no label or overview of the glass."""
    if page.dtype != full.dtype or page.samplesperpixel != full.samplesperpixel or page.imagewidth >= full.imagewidth:
        return False
    return bool(abs(page.imagelength * full.imagewidth / (page.imagewidth * full.imagelength) - 1) < 0.02)


def _check_page(page: Any) -> None:
    if page.dtype != np.uint8 or page.samplesperpixel not in (1, 3, 4) or page.planarconfig != _CONTIGUOUS:
        found = f"{page.samplesperpixel} x {page.dtype}, planar configuration {int(page.planarconfig)}"
        raise ValueError(f"pixels of {found}, not interleaved 8-bit RGB")


def _check_px(size: tuple[int, int]) -> None:
    if size[0] * size[1] > _MAX_DECODED_PX:
        raise ValueError(f"{size[0]} x {size[1]} pixels, more than fit in memory; store it as a pyramidal TIFF")
