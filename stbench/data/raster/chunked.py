"""A picture that is an array of a zarr store, channels first, with or without reduced copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stbench.data.image import ImageArray
from stbench.data.raster.base import PICTURE, Layered, UnsupportedError, check_memory
from stbench.data.raster.colour import on_white
from stbench.data.raster.segments import Segments
from stbench.data.zarr_store import chunk_file, open_array

_CHANNELS = (3, 4)  # RGB, RGBA
_MOST_CHUNKS = 10**6


class Chunked(Layered):
    """Open arrays of one picture; only their metadata are read before a region is asked for.

    Args:
        places: folders of the arrays, (C, Y, X), the full picture first.
        order: which channels are red, green, blue and, where there is a fourth, opaque.

    Raises:
        UnsupportedError: another shape or type.
    """

    def __init__(self, places: Sequence[Path], order: Sequence[int]) -> None:
        self._arrays = [_Level(place, order) for place in places]
        super().__init__(self._arrays)

    def digest(self) -> str:
        """Hash of all pixels, chunk by chunk, and of how they lie."""
        found = hashlib.sha256()
        for level in self._arrays:
            found.update(level.said.encode())
            for pixels in level.pieces():
                found.update(str(pixels.shape).encode() + pixels.tobytes())
        return found.hexdigest()


class _Level(Segments):
    kept_bytes = 2**30  # chunks are wide, and spots come in any order

    def __init__(self, place: Path, order: Sequence[int]) -> None:
        self._place, self._order, self._array = place, list(order), open_array(place, PICTURE)
        shape, kind = self._array.shape, self._array.dtype
        if len(shape) != 3 or shape[0] not in _CHANNELS or min(shape) < 1 or kind != np.uint8:
            raise UnsupportedError(
                f"expected 3 channels or 4 of type uint8, shape (C, Y, X), found {shape} {kind}; store it as RGB of "
                "type uint8"
            )
        wide, tall = (min(self._array.chunks[axis], shape[axis]) for axis in (2, 1))
        check_memory(wide, tall, shape[0])
        super().__init__((int(shape[2]), int(shape[1])), (wide, tall))
        if self._across * self._down > _MOST_CHUNKS:
            raise UnsupportedError(
                f"expected at most {_MOST_CHUNKS} chunks, found {self._across} x {self._down} of {wide} x {tall} px; "
                "store it in larger chunks"
            )
        self.said = f"{shape} {self._array.chunks} {self._order}"

    def pieces(self) -> Iterator[ImageArray]:
        """Pixels of all segments in turn, none of those that are absent."""
        for row, column in np.ndindex(self._down, self._across):
            yield self._decoded(row, column) if not self._absent(row, column) else np.empty((0, 0, 3), dtype=np.uint8)

    def _decoded(self, row: int, column: int) -> ImageArray:
        from PIL import Image

        if absent := self._absent(row, column):
            raise ValueError(f"no chunk {absent}, which would be shown black")
        rows, columns = (slice(i * step, (i + 1) * step) for i, step in ((row, self._tall), (column, self._wide)))
        pixels = np.ascontiguousarray(np.moveaxis(np.asarray(self._array[:, rows, columns])[self._order], 0, 2))
        return pixels if pixels.shape[2] == 3 else np.asarray(on_white(Image.fromarray(pixels, "RGBA")))

    def _absent(self, row: int, column: int) -> str:
        """The first chunk of a segment that is no file, empty where all are."""
        deep, tall, wide = self._array.shards or self._array.chunks
        for channel in range(-(-self._array.shape[0] // deep)):
            file = chunk_file(
                self._place, self._array, (channel, row * self._tall // tall, column * self._wide // wide)
            )
            if not file.is_file():
                return file.relative_to(self._place.parent).as_posix()
        return ""
