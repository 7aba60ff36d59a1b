"""Pictures that are image elements of a SpatialData store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path

from stbench.data.images import ImageFile
from stbench.data.raster import Raster, held, kept, said_of
from stbench.data.raster.chunked import Chunked

_WANTED = "an intact image element"


class StorePicture(ImageFile):
    """A picture in chunks of a zarr store, of which those are decoded that a patch touches.

    Args:
        path: folder of the image element.
        levels: names of its arrays, that of the full picture first.
        order: which channels are red, green, blue and, where there is a fourth, opaque.
        um_per_px: micrometres per full-resolution pixel, None when unknown.
        scale: picture pixels per full-resolution pixel.
    """

    reading = 1

    def __init__(
        self,
        path: Path,
        levels: Sequence[str],
        order: Sequence[int],
        um_per_px: float | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__(path, um_per_px, scale)
        self.places, self.order = tuple(path / level for level in levels), tuple(order)

    def digest(self) -> str:
        """Hash of the pixels of all levels, and of the scale; names and other elements have no say.

        Raises:
            DataError: the element is missing or no picture.
        """
        with said_of(self.path, _WANTED):
            content = _digest_of(self.places, self.order, _written(self.path))
        return hashlib.sha256(f"{content} {self.scale!r}".encode()).hexdigest()

    def held(self) -> AbstractContextManager[None]:
        """A block in which decoded chunks are kept for all that is asked of it; raises what reading it raises."""
        return held(self.path, self._open())

    @contextmanager
    def _open(self) -> Iterator[Raster]:
        with said_of(self.path, _WANTED):
            yield kept(self.path) or Chunked(self.places, self.order)


def _written(folder: Path) -> tuple[int, int, int]:
    """Number of files, their bytes and when the last was written: what is remembered of a picture is of these."""
    stats = [Path(inner, name).stat() for inner, _, names in os.walk(folder) for name in names]
    return len(stats), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


@lru_cache(maxsize=1024)
def _digest_of(places: tuple[Path, ...], order: tuple[int, ...], written: tuple[int, int, int]) -> str:
    return Chunked(places, order).digest()
