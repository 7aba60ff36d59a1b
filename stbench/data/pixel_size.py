"""What the header of a picture says of its pixel size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stbench.data.raster import open_raster
from stbench.data.raster.endings import is_openslide
from stbench.data.raster.openslide import Slide
from stbench.errors import DataError

_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.]+)")
_OME = re.compile(r'PhysicalSizeX="([0-9.eE+-]+)"')
_OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]+)"')
_MICROMETRES = {"µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1000.0, "nm": 0.001}
_UNITS = {2: 25_400.0, 3: 10_000.0}  # TIFF ResolutionUnit: micrometres per inch and centimetre
_SQUARE = 0.02  # by which the sides of a pixel may differ
_PLAUSIBLE = (0.05, 20.0)  # micrometres; a scanner writes less and more only by mistake, 72 dots per inch is 353


def said_um_per_px(path: Path) -> float | None:
    """Micrometres per full-resolution pixel by Aperio's ``MPP``, OME's ``PhysicalSizeX`` or the TIFF's resolution.

    Of slides that OpenSlide reads the mean of what it says of both sides.

    Returns:
        None where nothing, or nothing plausible (0.05 to 20), is said; JPEG and PNG say the size of a print.

    Raises:
        DataError: OpenSlide cannot read the slide, or the sides of its pixels differ by more than 2 %.
    """
    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return None
    said = _of_slide(path) if is_openslide(path) else _of_tiff(path)
    return said if said is not None and _PLAUSIBLE[0] <= said <= _PLAUSIBLE[1] else None


def _of_slide(path: Path) -> float | None:
    with open_raster(path) as raster:
        sides = raster.pixel_um if isinstance(raster, Slide) else None
    if sides is None:
        return None
    x, y = sides
    if abs(x - y) > _SQUARE * max(x, y):
        raise DataError(
            f"picture {path}: expected square pixels, found {x:.4g} x {y:.4g} um; save it anew with square ones, "
            f"or with stbench predict say one size for both: --um-per-px {(x + y) / 2:.4g}"
        )
    return (x + y) / 2


def _of_tiff(path: Path) -> float | None:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return _of(file.pages[0])
    except (OSError, ValueError, tifffile.TiffFileError, IndexError):
        return None


def _of(page: Any) -> float | None:
    text = str(page.description or "")
    if found := _APERIO.search(text):
        return float(found[1])
    if found := _OME.search(text):
        unit = _OME_UNIT.search(text)
        return float(found[1]) * _MICROMETRES.get(unit[1] if unit else "um", float("nan"))
    tags = page.tags
    if not {"XResolution", "ResolutionUnit"} <= {tag.name for tag in tags}:
        return None
    above, below = tags["XResolution"].value
    per_unit = _UNITS.get(int(tags["ResolutionUnit"].value))
    return per_unit * below / above if per_unit and above else None
