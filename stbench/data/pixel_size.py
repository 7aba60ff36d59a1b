"""What the header of a picture says of its pixel size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.]+)")
_OME = re.compile(r'PhysicalSizeX="([0-9.eE+-]+)"')
_OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]+)"')
_MICROMETRES = {"µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1000.0, "nm": 0.001}
_UNITS = {2: 25_400.0, 3: 10_000.0}  # TIFF ResolutionUnit: micrometres per inch and centimetre
_PLAUSIBLE = (0.05, 20.0)  # micrometres; a scanner writes less and more only by mistake, 72 dots per inch is 353


def said_um_per_px(path: Path) -> float | None:
    """Micrometres per full-resolution pixel by Aperio's ``MPP``, OME's ``PhysicalSizeX`` or the TIFF's resolution.

    Returns:
        None where nothing, or nothing plausible (0.05 to 20), is said; JPEG and PNG say the size of a print.
    """
    import tifffile

    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return None
    try:
        with tifffile.TiffFile(path) as file:
            said = _of(file.pages[0])
    except (OSError, ValueError, tifffile.TiffFileError, IndexError):
        return None
    return said if said is not None and _PLAUSIBLE[0] <= said <= _PLAUSIBLE[1] else None


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
