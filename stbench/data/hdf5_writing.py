"""HDF5 files on disks that may be full."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from stbench.process import uninterrupted

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

_ENCODING = {"encoding-type": "anndata", "encoding-version": "0.1.0"}
_MAPPINGS = ("obsm", "varm", "obsp", "varp", "layers", "uns")
_PARTS = ("X", "raw", "obs", "var", *_MAPPINGS)


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """A new HDF5 file to fill.

    The library cannot close a file that does not fit on the disk: it prints tracebacks, raises what is no OSError, and
    ends the process when that exits. So what does not fit goes on in memory, and is an error once the file is closed.

    Signals wait until the file is closed: an interruption in the middle of writing would be lost, and with it what was
    written, and the file would be taken for whole.

    Yields:
        The file, and a call that raises the error, or what a signal raises, early; to be made now and then where much
        is written.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    import h5py

    with uninterrupted() as raise_signals, path.open("w+b", buffering=0) as raw:
        spilling = _Spilling(raw)

        def check() -> None:
            spilling.check()
            raise_signals()

        with h5py.File(spilling, "w") as file:
            yield file, check
        spilling.check()


def write_h5ad(adata: AnnData, path: Path, *, compression: str | None = None) -> None:
    """Write an AnnData as its own ``write_h5ad`` does.

    Args:
        adata: its columns of strings become categories, as there.
        path: the file.
        compression: of every array: ``gzip``, ``lzf`` or None.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    from anndata.io import write_elem

    adata.strings_to_categoricals()
    with new_hdf5(path) as (file, _):
        file.attrs.update(_ENCODING)
        for name in _PARTS:
            part = getattr(adata, name)
            if part is not None:  # a null is a later invention than the format
                whole = dict(part) if name in _MAPPINGS else part
                write_elem(file, name, whole, dataset_kwargs={"compression": compression})


class _Spilling:
    """What h5py asks of a file; from the first write that fails on, all of it in memory."""

    def __init__(self, raw: BinaryIO) -> None:
        self._target = raw
        self._error: OSError | None = None

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return self._target.seek(place, whence)

    def tell(self) -> int:
        return self._target.tell()

    def read(self, size: int = -1) -> bytes:
        return self._target.read(size)

    def readinto(self, buffer: memoryview) -> int:
        return self._target.readinto(buffer)  # type: ignore[attr-defined]

    def flush(self) -> None:
        self._target.flush()

    def write(self, data: memoryview) -> int:
        start = self._target.tell()
        try:
            done = 0
            while done < len(data):
                done += self._target.write(data[done:])
        except OSError as error:
            self._spill(error)
            self._target.seek(start)
            self._target.write(data)
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            return self._target.truncate(size)
        except OSError as error:
            self._spill(error)
            return self._target.truncate(size)

    def _spill(self, error: OSError) -> None:
        self._error = error
        self._target.seek(0)
        self._target = io.BytesIO(self._target.read())
