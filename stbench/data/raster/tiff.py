"""A TIFF of which only the tiles or strips are decoded that a region touches."""

from __future__ import annotations

import io
import logging
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from stbench.data.image import ImageArray
from stbench.data.raster.base import Layered, UnsupportedError, check_memory
from stbench.data.raster.channels import check_one_plane, joined_pages
from stbench.data.raster.colour import JPEG, YCBCR, Samples, colours_of
from stbench.data.raster.ends import jpeg_ends_early
from stbench.data.raster.segments import Segments

_DEFLATE = {8, 32946}
_SAME_ASPECT = 0.02

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what is wrong with a file is said once, by raising


class Tiff(Layered):
    """An open TIFF, with or without a pyramid.

    Raises:
        UnsupportedError: its colour model, codec or order of pages is none that is read.
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        import tifffile

        self._file = tifffile.TiffFile(path)
        try:
            levels, self._moved = _levels(self._file)
        except BaseException:
            self._file.close()
            raise
        self._picture = levels[0]
        super().__init__(levels)

    @property
    def mended(self) -> bool:
        """Whether another page is shown than before, or another colour anywhere."""
        return self._moved or self._picture.mended()

    def close(self) -> None:
        self._file.close()


class _Level(Segments):
    """One page of a TIFF.

    Args:
        file: the open tifffile.TiffFile.
        page: its tifffile.TiffPage.
    """

    def __init__(self, file: Any, page: Any) -> None:
        self.file, self.page = file, page
        super().__init__(_size(page), _segment_size(page))
        self.colours = colours_of(page)
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._check_segments()

    def _check_segments(self) -> None:
        check_memory(self._wide, self._tall, self.page.samplesperpixel)
        offsets, counts = (np.asarray(v, dtype=np.uint64) for v in (self.page.dataoffsets, self.page.databytecounts))
        n = self._planes * self._across * self._down
        if len(offsets) < n or len(counts) < n:
            raise ValueError(f"{min(len(offsets), len(counts))} of {n} segments of a page of {self.size} px")
        cut = np.flatnonzero((counts[:n] > 0) & (offsets[:n] + counts[:n] > self.file.filehandle.size))
        if len(cut):
            raise ValueError(f"the file ends within segment {cut[0]} of {n}")

    def mended(self) -> bool:
        """Whether any colour differs from the first three samples, which is what was shown before."""
        if self.colours.plain or self._planes > 1:
            return False
        return any(self._differs(row, column) for row in range(self._down) for column in range(self._across))

    def _differs(self, row: int, column: int) -> bool:
        samples = self._samples(row, column)
        return samples.size > 0 and not np.array_equal(self.colours.of(samples), samples[..., :3])

    def _decoded(self, row: int, column: int) -> ImageArray:
        samples = self._samples(row, column)
        return self.colours.of(samples) if samples.size else np.empty((0, 0, 3), dtype=np.uint8)

    def _samples(self, row: int, column: int) -> Samples:
        """Samples of a segment inside the picture, (0, 0, n) of one left out because nothing is on it."""
        first, step = row * self._across + column, self._across * self._down
        planes = [self._decode(first + plane * step) for plane in range(self._planes)]
        samples = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
        width = min(self._wide, self.size[0] - column * self._wide)
        height = min(self._tall, self.size[1] - row * self._tall)
        if samples.size and (samples.shape[0] < height or samples.shape[1] < width):
            raise ValueError(f"segment {first} holds {samples.shape[1]} x {samples.shape[0]} px, fewer than it says")
        return samples[:height, :width]

    def _decode(self, index: int) -> Samples:
        n_bytes = self.page.databytecounts[index]
        if not n_bytes:
            return np.empty((0, 0, self.page.samplesperpixel // self._planes), dtype=np.uint8)
        self.file.filehandle.seek(self.page.dataoffsets[index])
        data = self.file.filehandle.read(n_bytes)
        if self.page.compression == JPEG:
            return _decode_jpeg(data, self.page.jpegtables, ycbcr=self.page.photometric == YCBCR, index=index)
        return _decode(self.page, data, index)


class _Joined:
    """Three pages of one size as red, green and blue."""

    def __init__(self, levels: list[_Level]) -> None:
        self.levels, self.size = levels, levels[0].size

    def region(self, left: int, top: int, width: int, height: int) -> ImageArray:
        return np.dstack([level.region(left, top, width, height)[..., 0] for level in self.levels])

    def mended(self) -> bool:
        return True


def _levels(file: Any) -> tuple[list[_Level | _Joined], bool]:
    """The full picture, its reduced copies, which lie in further pages or below, and whether it is not the first."""
    pages = [page for first in file.pages for page in (first, *(first.pages or ()))]
    if not pages:
        raise ValueError("no picture in it, or the end of the file is gone")
    full = _full(pages)
    smaller = [page for page in pages if page is not full and _reduces(page, full)]
    if len(joined := joined_pages(file, pages, full)) > 1:
        same = [[page for page in smaller if _size(page) == size] for size in dict.fromkeys(map(_size, smaller))]
        groups = [joined, *(group for group in same if len(group) == len(joined))]
        return [_Joined([_Level(file, page) for page in group]) for group in groups], True
    check_one_plane(file, pages, full)
    return [_Level(file, full), *(_Level(file, page) for page in smaller)], full is not pages[0]


def _full(pages: list[Any]) -> Any:
    """The first page, or the largest where the first is a reduced copy of it."""
    first, largest = pages[0], max(pages, key=lambda page: page.imagewidth * page.imagelength)
    if largest.imagewidth * largest.imagelength == first.imagewidth * first.imagelength:
        return first
    if not _same_aspect(first, largest):
        raise UnsupportedError(
            f"expected the slide on the first page, found {_size(first)} px there and {_size(largest)} px on a later "
            "one; save the slide alone, or first"
        )
    return largest


def _size(page: Any) -> tuple[int, int]:
    return int(page.imagewidth), int(page.imagelength)


def _reduces(page: Any, full: Any) -> bool:
    """Whether a page is a smaller copy of the full picture, and no label or overview of the glass."""
    if page.dtype != full.dtype or page.samplesperpixel != full.samplesperpixel or page.imagewidth >= full.imagewidth:
        return False
    return _same_aspect(page, full)


def _same_aspect(page: Any, full: Any) -> bool:
    ratio = page.imagelength * full.imagewidth / (page.imagewidth * full.imagelength)
    return bool(abs(ratio - 1) < _SAME_ASPECT)


def _segment_size(page: Any) -> tuple[int, int]:
    """(width, height) of a tile, or of a strip but the last."""
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return int(page.imagewidth), max(1, min(int(page.rowsperstrip), int(page.imagelength)))


def _decode(page: Any, data: bytes, index: int) -> Samples:
    try:
        pixels = np.asarray(page.decode(data, index)[0])
    except RuntimeError:
        shorter = _without_excess(page, data) if int(page.compression) in _DEFLATE else None
        if shorter is None:
            raise
        pixels = np.asarray(page.decode(shorter, index)[0])
    return pixels.reshape(pixels.shape[-3:])


def _without_excess(page: Any, data: bytes) -> bytes | None:
    """The last strip, packed anew with the rows that the page has: some writers fill it up. None of anything else."""
    wide, tall = _segment_size(page)
    unpacker, row = zlib.decompressobj(), wide * (page.samplesperpixel if page.planarconfig == 1 else 1)
    rows = unpacker.decompress(data, row * tall)
    whole = len(rows) == row * tall and not unpacker.decompress(unpacker.unconsumed_tail, 1) and unpacker.eof
    return zlib.compress(rows[: row * (page.imagelength % tall)], level=0) if whole and not page.is_tiled else None


def _decode_jpeg(data: bytes, tables: bytes | None, ycbcr: bool, index: int) -> ImageArray:
    """Decode a tile whose tables are kept apart; says which colours it holds, as decoders must guess otherwise."""
    from PIL.JpegImagePlugin import JpegImageFile

    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([ycbcr])
    stream = data[:2] + adobe + (tables or b"\xff\xd8\xff\xd9")[2:-2] + data[2:]
    if jpeg_ends_early(stream):
        raise ValueError(f"segment {index} ends early")
    with JpegImageFile(io.BytesIO(stream)) as file:
        return np.asarray(file.convert("RGB"))
