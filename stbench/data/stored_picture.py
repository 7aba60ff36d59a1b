"""Pictures that ``uns["spatial"]`` of an ``.h5ad`` file holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from pathlib import Path

from stbench.data.hdf5 import open_hdf5
from stbench.data.images import ImageFile
from stbench.data.picture_facts import stated
from stbench.data.raster import Raster, Stored, held, kept, said_of

_WANTED = "an array of pixels"


class StoredPicture(ImageFile):
    """A picture kept as an array of an HDF5 file, which is decoded when a patch is first asked for.

    Args:
        path: the file.
        place: of the array in it, such as ``uns/spatial/S1/images/hires``.
        um_per_px: micrometres per full-resolution pixel, None when unknown.
        scale: picture pixels per full-resolution pixel.
    """

    reading = 1

    def __init__(self, path: Path, place: str, um_per_px: float | None = None, scale: float = 1.0) -> None:
        super().__init__(path, um_per_px, scale)
        self.place = place

    def digest(self) -> str:
        """Hash of the array's shape, type and numbers, and of the scale; other parts of the file have no say.

        Raises:
            DataError: the file is missing or the array is no picture.
        """
        content = stated(partial(_digest_of, self.place), self.path)
        return hashlib.sha256(f"{content} {self.scale!r}".encode()).hexdigest()

    def held(self) -> AbstractContextManager[None]:
        """A block in which the picture is decoded once for all that is asked of it; raises what reading it raises."""
        return held(self._key, self._open())

    @property
    def _key(self) -> tuple[Path, str]:
        return self.path, self.place

    @contextmanager
    def _open(self) -> Iterator[Raster]:
        with said_of(self.path, _WANTED, self.place):
            if (raster := kept(self._key)) is not None:
                yield raster
                return
            with open_hdf5(self.path) as file:
                yield Stored(file[self.place])


@lru_cache(maxsize=1024)
def _digest_of(place: str, path: Path, size: int, mtime_ns: int) -> str:
    with said_of(path, _WANTED, place), open_hdf5(path) as file:
        array = file[place]
        found = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode())
        for rows in Stored(array).bands():
            found.update(array[rows].tobytes())
    return found.hexdigest()
