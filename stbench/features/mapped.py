"""Arrays kept on disk while a process runs, mapped into memory where they are used."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from stbench.errors import SettingError

FloatArray = NDArray[np.float32]
Layout = tuple[type[np.generic], dict[str, tuple[int, ...]]]
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class MappedArrays:
    """Named arrays of one type in a file without a name, which goes when the last user of it does.

    However many there are, they hold no memory of the process: the system keeps what is used and drops it when it needs
    room.

    Args:
        arrays: names and arrays, taken one at a time.
        directory: folder of the file; one that is not ours to write, as a shared cache can be, gives way to the
            system's folder for temporary files.
        dtype: what is stored.

    Raises:
        SettingError: the folder cannot be written or its disk is full.
    """

    def __init__(
        self, arrays: Iterable[tuple[str, NDArray[Any]]], directory: Path, dtype: type[np.generic] = np.float32
    ) -> None:
        self._dtype = dtype
        self._shapes: dict[str, tuple[int, ...]] = {}
        try:
            self._file = _nameless(directory)
        except OSError as error:
            raise _unwritable(directory, error) from error
        weakref.finalize(self, _close, self._file)
        for name, array in arrays:
            self._shapes[name] = array.shape
            try:
                self._file.write(np.ascontiguousarray(array, dtype=dtype).data)
                self._file.flush()
            except OSError as error:
                with suppress(OSError):  # what it still holds does not fit either
                    self._file.close()
                raise _unwritable(directory, error) from error

    @property
    def handle(self) -> int:
        """Number of the open file, for another process of ours: it has no name by which a third could find it."""
        return self._file.fileno()

    @property
    def layout(self) -> Layout:
        """What the file holds, in order: type of the numbers, names and shapes."""
        return self._dtype, self._shapes

    @classmethod
    def opened(cls, handle: int, layout: Layout) -> MappedArrays:
        """The arrays of a file that another process has opened; the handle is this one's from now on."""
        found = cls.__new__(cls)
        found._dtype, found._shapes = layout
        found._file = os.fdopen(handle, "rb")
        weakref.finalize(found, _close, found._file)
        return found

    def fresh(self) -> dict[str, NDArray[Any]]:
        """The arrays by name; what is written to them stays with this call's."""
        if not any(prod(shape) for shape in self._shapes.values()):  # an empty file cannot be mapped
            return {name: np.empty(shape, dtype=self._dtype) for name, shape in self._shapes.items()}
        whole: NDArray[Any] = np.memmap(self._file, dtype=self._dtype, mode="c").view(
            np.ndarray
        )  # anndata writes no memmap
        found, start = {}, 0
        for name, shape in self._shapes.items():
            found[name] = whole[start : start + prod(shape)].reshape(shape)
            start += prod(shape)
        return found


def _nameless(directory: Path) -> IO[bytes]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=directory)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
    return tempfile.TemporaryFile()


class HeldArrays:
    """The same in memory, where there is no folder to write to."""

    def __init__(self, arrays: Iterable[tuple[str, FloatArray]]) -> None:
        self._arrays = dict(arrays)

    def fresh(self) -> dict[str, FloatArray]:
        """Copies of the arrays by name."""
        return {name: array.copy() for name, array in self._arrays.items()}


KeptArrays = MappedArrays | HeldArrays


def keep(arrays: Iterable[tuple[str, FloatArray]], directory: Path | None) -> KeptArrays:
    """Arrays on disk in a folder, in memory without one.

    Raises:
        SettingError: the folder cannot be written or its disk is full.
    """
    return HeldArrays(arrays) if directory is None else MappedArrays(arrays, directory)


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # closing tries once more what a full disk did not take
        file.close()


def _unwritable(directory: Path, error: OSError) -> SettingError:
    return SettingError(
        f"expected room for the arrays of a task at {directory}, found: {error}; choose another STBENCH_CACHE"
    )
