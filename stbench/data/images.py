"""Pictures of slides: whole images, and the patches that HEST-1k cut from them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stbench.data.cutting import crop, level_for, resized, rounded
from stbench.data.hdf5 import bytes_of
from stbench.data.image import ImageArray, ImageSource, PatchSpec
from stbench.data.picture_facts import file_digest as _digest
from stbench.data.picture_facts import is_mended
from stbench.data.raster import Raster, held, open_raster
from stbench.data.unwritten import unwritten
from stbench.errors import DataError, SettingError
from stbench.reading import ARRAYS, check_regular

if TYPE_CHECKING:
    import h5py

HEST_UM_PER_PX = 0.5  # pixel size of every patch of HEST-1k
_MENDED = "colours as a viewer shows them"
_MAX_PATCH_PX = 8192  # 200 MB; wide enough for a neighbourhood of the finest scans
_ROUNDING = 0.01  # a cut that exceeds the stored patch by less is the stored patch


class ImageFile(ImageSource):
    """A whole picture: JPEG, PNG, TIFF, also a pyramid, or a slide that OpenSlide reads.

    Patches that shrink to a quarter or less come from the coarsest copy in the file that they are not enlarged from.

    Args:
        path: the file.
        um_per_px: micrometres per full-resolution pixel, None when unknown.
        scale: picture pixels per full-resolution pixel; below 1 for a reduced rendering.
    """

    reading = 2  # those that end early are refused

    def __init__(self, path: Path, um_per_px: float | None = None, scale: float = 1.0) -> None:
        if not (math.isfinite(scale) and scale > 0):
            raise DataError(f"picture {path}: expected a positive scale, found {scale}; check the scale factors")
        self.path, self.um_per_px, self.scale = path, um_per_px, scale

    def digest(self) -> str:
        """Hash of the file's bytes, the scale, and whether colours are shown that were not looked at before.

        Raises:
            DataError: the file is missing or is no picture.
        """
        mended = f" {_MENDED}" if is_mended(self.path) else ""
        return hashlib.sha256(f"{_digest(self.path)} {self.scale!r}{mended}".encode()).hexdigest()

    def content(self, spec: PatchSpec | None = None) -> str:
        """As of any source; patches that come from a reduced copy of the picture have another.

        Raises:
            DataError: the file is missing or no picture, or ``spec`` is in micrometres and the pixel size is unknown.
        """
        content = super().content()
        if spec is None or spec.out_px is None:
            return content
        with self._open() as raster:
            level = raster.levels.index(level_for(raster, self._asked_px(spec), spec.out_px))
        return f"{content} level {level}" if level else content

    def size(self) -> tuple[int, int]:
        """(width, height) of the full-resolution image in pixels, from the header.

        Raises:
            DataError: the file is missing or is no picture.
        """
        with self._open() as raster:
            width, height = raster.size
        return round(width / self.scale), round(height / self.scale)

    def held(self) -> AbstractContextManager[None]:
        """A block in which the picture is decoded once for all that is asked of it; raises what reading it raises."""
        return held(self.path, open_raster(self.path))

    def thumbnail(self, longest_px: int) -> ImageArray:
        """The picture reduced by area averaging so that no side is longer than ``longest_px``; never enlarged.

        Raises:
            DataError: the picture cannot be decoded.
        """
        with self._open() as raster:
            share = min(1.0, longest_px / max(raster.size))
            width, height = (max(1, round(side * share)) for side in raster.size)
            return resized(raster.coarse(longest_px), width, height)

    def patches(self, spot_ids: Sequence[str], xy: NDArray[np.float32], spec: PatchSpec) -> Iterator[ImageArray]:
        """(side, side, 3) patches centred on the spots, white outside the picture.

        Args:
            spot_ids: names of the spots.
            xy: (n_spots, 2) spot centres in full-resolution pixels.
            spec: geometry; without ``out_px`` the side is that of the cut in the picture's own pixels.

        Raises:
            DataError: the picture cannot be decoded, or ``spec`` is in micrometres and the pixel size is unknown.
            SettingError: ``spec`` gives both or neither of ``um`` and ``px``, or is wider than 8192 px.
        """
        asked = self._asked_px(spec)
        if not max(asked, spec.out_px or 0) <= _MAX_PATCH_PX:
            raise SettingError(
                f"picture {self.path}: expected a patch of at most {_MAX_PATCH_PX} px a side, found {asked:.4g} px; "
                f"give --patch {_narrower(spec, asked)} or less"
            )
        return self._cut(np.asarray(xy, dtype=np.float64) * self.scale, asked, spec.out_px)

    def _asked_px(self, spec: PatchSpec) -> float:
        """Side of the cut in the picture's own pixels."""
        return cut_px(spec, self.um_per_px, str(self.path)) * self.scale

    def _cut(self, centres: NDArray[np.float64], asked: float, out_px: int | None) -> Iterator[ImageArray]:
        with self._open() as raster:
            level = raster if out_px is None else level_for(raster, asked, out_px)
            shares = np.divide(level.size, raster.size)
            side = rounded(asked * shares[0])
            for left, top in np.floor(centres * shares - side / 2 + 0.5).astype(np.int64).tolist():
                yield resized(crop(level, left, top, side), out_px or side, out_px or side)

    def _open(self) -> AbstractContextManager[Raster]:
        return open_raster(self.path)


class PatchFile(ImageSource):
    """Patches of one slide as HEST-1k stores them: ``img``, ``coords``, ``barcode``.

    Patches are read one at a time. A smaller cut than was stored is taken from the middle.

    Args:
        path: the HDF5 file.
        um_per_px: micrometres per full-resolution pixel, None takes what the file says.
        preview: reduced picture of the whole slide.

    Attributes:
        source_px: side of a stored patch in full-resolution pixels, None where the file says the size of its pixels, or
            it is that of HEST-1k.
    """

    source_px: int | None = None

    def __init__(self, path: Path, um_per_px: float | None = None, preview: Path | None = None) -> None:
        self.path, self.um_per_px, self.preview = path, um_per_px, preview
        if um_per_px is None and path.is_file():
            self.um_per_px = self.attribute("pixel_size")

    def digest(self) -> str:
        """Hash of the file's bytes, and of the side that was found for its patches where they do not say it."""
        plain = _digest(self.path)
        return plain if self.source_px is None else hashlib.sha256(f"{plain} {self.source_px}".encode()).hexdigest()

    def size(self) -> None:
        """None: only patches exist."""

    def thumbnail(self, longest_px: int) -> ImageArray:
        """The slide's preview.

        Raises:
            DataError: there is none.
        """
        if self.preview is None:
            raise DataError(f"{self.path}: expected a picture of the whole slide, found patches only; use wsis/")
        return ImageFile(self.preview).thumbnail(longest_px)

    def barcodes(self) -> list[str]:
        """Names of the spots that have a patch, in the order of the file.

        Raises:
            DataError: not a patch file, or a spot with two patches.
        """
        with self._open() as file:
            raw = file["barcode"][:].ravel()
            names = [name.decode() if isinstance(name, bytes) else str(name) for name in raw]
        twice = _first_twice(names)
        if twice is not None:
            raise DataError(f"{self.path}, row {twice}: expected one patch per spot, found {names[twice]} again")
        return names

    def corners(self) -> NDArray[np.int64]:
        """(n_patches, 2) x and y of each patch's top-left corner in full-resolution pixels."""
        with self._open() as file:
            return np.asarray(file["coords"][:], dtype=np.int64)

    def attribute(self, name: str) -> float | None:
        """A number the file says of its patches (``patch_size_src``, ``pixel_size``...), None when it does not."""
        with self._open() as file:
            said = {**file["coords"].attrs, **file["img"].attrs}.get(name)
            found = None if said is None else float(np.asarray(said).ravel()[0])
        if found is not None and not 0 < found < math.inf:
            raise DataError(f"{self.path}, {name}: expected a positive number, found {found}; obtain the file again")
        return found

    def patches(self, spot_ids: Sequence[str], xy: NDArray[np.float32], spec: PatchSpec) -> Iterator[ImageArray]:
        """(side, side, 3) patches of the named spots; ``xy`` is not used, as each patch was cut around its spot.

        Raises:
            DataError: a spot without patch, a cut larger than was stored, or a file that cannot be read.
            SettingError: ``spec`` gives both or neither of ``um`` and ``px``.
        """
        row = {name: i for i, name in enumerate(self.barcodes())}
        missing = [spot for spot in spot_ids if spot not in row]
        if missing:
            raise DataError(
                f"{self.path}: expected a patch for each of {len(spot_ids)} spots, found none for {missing[0]} "
                f"({len(missing)} in all); drop the spots without patch"
            )
        side, stored = self._side(spec)
        return self._read([row[spot] for spot in spot_ids], (stored - side) // 2, side, spec.out_px or side)

    def _side(self, spec: PatchSpec) -> tuple[int, int]:
        """Sides of the cut and of the stored patch in stored pixels."""
        stored, pixel = self.side_px(), self._stored_um_per_px()
        side = cut_px(spec, 1.0, str(self.path)) * (1.0 if spec.px is None else self._source_um_per_px()) / pixel
        if side > stored * (1 + _ROUNDING):
            raise DataError(
                f"{self.path}: expected a patch of at most {stored * pixel:.4g} um (what was stored), "
                f"found {side * pixel:.4g} um (the patch times the encoder's context); ask for a smaller --patch, "
                "choose another encoder, or put the whole picture into wsis/ and remove the patches"
            )
        return min(rounded(side), stored), stored

    def side_px(self) -> int:
        """Side of a stored patch in its own pixels."""
        with self._open() as file:
            return int(file["img"].shape[1])

    def told_um_per_px(self) -> float | None:
        """Micrometres per pixel of the stored patches as the file says it, None when it does not."""
        source, ratio = self.attribute("pixel_size"), self.attribute("downsample")
        return None if source is None or ratio is None else source * ratio

    def _stored_um_per_px(self) -> float:
        told = self.told_um_per_px()
        if told is None and self.source_px is not None and self.um_per_px is not None:
            return self.um_per_px * self.source_px / self.side_px()
        return HEST_UM_PER_PX if told is None else told

    def _source_um_per_px(self) -> float:
        if self.um_per_px is None:
            raise DataError(f"{self.path}: expected a pixel size for a patch in pixels, found none; give it in um")
        return self.um_per_px

    def _read(self, rows: list[int], margin: int, side: int, out_px: int) -> Iterator[ImageArray]:
        middle = slice(margin, margin + side)
        with self._open() as file:
            for row in rows:
                yield resized(np.asarray(file["img"][row, middle, middle]), out_px, out_px)

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        import h5py

        try:
            check_regular(self.path)
            with h5py.File(self.path) as file:
                _check_patches(file, self.path)
                yield file
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise DataError(
                f"{self.path}: expected an intact HDF5 file with img, coords and barcode, "
                f"found: {_one_line(error)}; obtain the file again"
            ) from error


def _check_patches(file: Any, path: Path) -> None:
    img, coords, n = file["img"], file["coords"], len(file["barcode"])
    ARRAYS.check(bytes_of(coords) + bytes_of(file["barcode"]) + bytes_of(img) // max(len(img), 1), "arrays")
    if img.ndim != 4 or img.shape[1] != img.shape[2] or img.shape[3] != 3 or img.dtype != np.uint8:
        raise DataError(f"{path}: expected img of shape (M, S, S, 3) and type uint8, found {img.shape} {img.dtype}")
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "iuf":
        found = f"{coords.shape} {coords.dtype}"
        raise DataError(f"{path}: expected coords of shape (M, 2) in numbers, found {found}; obtain the file again")
    if not img.shape[0] == n == len(coords):
        found = f"{img.shape[0]}, {len(coords)} and {n}"
        raise DataError(f"{path}: expected as many img as coords as barcode, found {found}; obtain the file again")
    if unwritten(img):
        raise DataError(f"{path}: expected a picture in every row of img, found rows never written; make it again")


def cut_px(spec: PatchSpec, um_per_px: float | None, where: str) -> float:
    """Side of the cut in pixels of the given size.

    Raises:
        DataError: it is given in um and the size of a pixel is unknown.
        SettingError: both or neither of ``um`` and ``px`` are given.
    """
    if (spec.um is None) == (spec.px is None):
        raise SettingError(f"expected a patch in um or in px, found {spec}; give one of the two")
    if spec.px is not None:
        return float(spec.px)
    if um_per_px is None:
        raise DataError(
            f"picture {where}: expected a pixel size to cut patches of {spec.um} um, found none; give the patch in px"
        )
    return float(spec.um or 0) / um_per_px


def _narrower(spec: PatchSpec, side: float) -> str:
    """The widest patch that is cut, as it is typed."""
    if spec.px is not None:
        return f"{int(spec.px * _MAX_PATCH_PX / side + 1e-6)}px"
    return f"{(spec.um or 0) * _MAX_PATCH_PX / side:.2f}um" if math.isfinite(side) else "224px"


def _first_twice(names: Sequence[str]) -> int | None:
    seen: set[str] = set()
    for row, name in enumerate(names):
        if name in seen:
            return row
        seen.add(name)
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
