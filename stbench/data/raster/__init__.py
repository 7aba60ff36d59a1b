"""Pixels of a picture on disk, whole (JPEG, PNG) or region by region (TIFF and slides, with or without a pyramid).

One whose name ends in .gz is unpacked into a temporary file while it is open.
"""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from stbench.data.raster.base import PICTURE, SAVE_AS_RGB, WHITE, Level, Raster, UnsupportedError
from stbench.data.raster.endings import is_openslide
from stbench.data.raster.openslide import Slide, knows
from stbench.data.raster.painted import OnGlass
from stbench.data.raster.stored import Stored
from stbench.data.raster.tiff import Tiff
from stbench.data.raster.whole import Whole
from stbench.errors import DataError, UserError
from stbench.reading import check_packed, check_regular, opened
from stbench.text import one_line

__all__ = ["WHITE", "Level", "OnGlass", "Raster", "Stored", "held", "kept", "open_raster", "said_of"]

_FORMATS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"ZISRAW": "Zeiss CZI",
    b"\x89HDF": "HDF5",
    b"%PDF": "PDF",
    b"PK": "a zip archive",
    b"\x1f\x8b": "gzip",
}
_HELD: dict[Hashable, Raster] = {}
_WANTED = "an intact JPEG, PNG or TIFF"
_POINTER = b"version https://git-lfs"


@contextmanager
def open_raster(path: Path) -> Iterator[Raster]:
    """Open a picture: a slide in a scanner's format by its name, a JPEG, PNG or TIFF by what its first bytes say.

    A TIFF that a scanner wrote and that is not read here is read by OpenSlide where that is installed.

    Raises:
        DataError: missing, of another format, in a colour model, codec or depth that is not read, larger than fits in
            memory, truncated or damaged; or OpenSlide is asked for and not installed.
    """
    wanted = "an intact slide that OpenSlide reads" if is_openslide(path) else _WANTED
    with said_of(path, wanted):
        if (raster := kept(path)) is not None:
            yield raster
            return
        with _unpacked(path) as place, _opened(place) as raster:
            yield raster


@contextmanager
def said_of(path: Path, wanted: str = _WANTED, where: str = "") -> Iterator[None]:
    """Whatever goes wrong with a picture in the block is a DataError.

    Args:
        path: file of the picture.
        wanted: what it should be.
        where: place of the picture in the file; empty where the file is the picture.
    """
    place = f"picture {path}{where and f', {where}'}"
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{place}: expected pixels that fit in memory, found: {one_line(str(error)) or 'more'}; "
            "store it as a tiled, pyramidal TIFF"
        ) from error
    except UnsupportedError as error:
        raise DataError(f"{place}: {error}") from error
    except Exception as error:  # every decoder fails in its own way on a damaged file
        reason = one_line(str(error)) or type(error).__name__
        raise DataError(f"{place}: expected {wanted}, found: {reason}; {_remedy(reason)}") from error


@contextmanager
def held(key: Hashable, opening: AbstractContextManager[Raster]) -> Iterator[None]:
    """Keep a picture open for all that the block reads of it: one that can only be decoded whole is decoded once.

    Args:
        key: what the picture is known by: the path of a file.
        opening: opens it; raises what that raises.
    """
    if key in _HELD:
        yield
        return
    with opening as raster:
        _HELD[key] = raster
        try:
            yield
        finally:
            del _HELD[key]


def kept(key: Hashable) -> Raster | None:
    """The open picture of a key, None where none is held."""
    return _HELD.get(key)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    if path.suffix != ".gz":
        yield path
        return
    check_packed(path, PICTURE)
    with NamedTemporaryFile(suffix=Path(path.stem).suffix) as whole, opened(path) as packed:
        shutil.copyfileobj(packed, whole)
        whole.flush()
        yield Path(whole.name)


def _remedy(reason: str) -> str:
    """What helps; of decoders that are not there, the name of their package is in the reason."""
    if reason.endswith(", no file"):
        return "put the picture itself there"
    return "pip install imagecodecs" if "imagecodecs" in reason else "obtain the file again"


def _opened(path: Path) -> Raster:
    check_regular(path)
    if is_openslide(path):
        return Slide(path)
    with path.open("rb") as file:
        magic = file.read(24)
    if magic.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return Whole(path, png=magic[1:4] == b"PNG")
    if magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(path)
    raise _other_format(magic)


def _tiff(path: Path) -> Raster:
    try:
        return Tiff(path)
    except UnsupportedError:
        if knows(path):
            return Slide(path)
        raise


def _other_format(magic: bytes) -> Exception:
    if magic.startswith(_POINTER):
        return UnsupportedError(
            "expected an intact JPEG, PNG or TIFF, found a pointer of Git LFS; type git lfs pull there"
        )
    name = next((name for start, name in _FORMATS.items() if magic.startswith(start)), None)
    if name is None:
        return ValueError(f"bytes of another format ({magic[:8].hex() or 'an empty file'})")
    return UnsupportedError(f"expected an intact JPEG, PNG or TIFF, found {name}; {SAVE_AS_RGB}")
