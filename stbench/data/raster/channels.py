"""Colours that a TIFF keeps apart, one greyscale page each."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree

from stbench.data.raster.base import SAVE_AS_RGB, UnsupportedError

_GREY = 1
_NAMES = (("r", "red"), ("g", "green"), ("b", "blue"))
_COLOURS = (0xFF0000FF, 0x00FF00FF, 0x0000FFFF)  # RGBA, as OME writes it
_NO_COLOUR = 0xFFFFFFFF
_NO_NAME = re.compile(r"((channel|ch|c)[ _:-]*)?[\d:]*")


def joined_pages(file: Any, pages: list[Any], full: Any) -> list[Any]:
    """Pages that are the red, green and blue of one OME picture; the full page alone where it is a picture itself.

    Args:
        file: the open tifffile.TiffFile.
        pages: all its pages, those below others too.
        full: the page at full resolution.

    Raises:
        UnsupportedError: its channels are named or coloured as something else than red, green and blue.
    """
    alike = _alike(pages, full)
    if not (_is_grey(full) and len(alike) == 3 and file.is_ome and _layout(file) == ("C", 3)):
        return [full]
    channels = _ome_channels(file.ome_metadata)
    for (name, colour), names, rgb in zip(channels, _NAMES, _COLOURS, strict=False):
        unnamed = name.casefold() in names or _NO_NAME.fullmatch(name.casefold()) is not None
        if not unnamed or colour not in (rgb, _NO_COLOUR):
            said = ", ".join(f"{name or 'unnamed'} (#{colour >> 8:06x})" for name, colour in channels)
            raise UnsupportedError(f"expected a colour picture, found three greyscale channels: {said}; {SAVE_AS_RGB}")
    return alike


def check_one_plane(file: Any, pages: list[Any], full: Any) -> None:
    """Raise UnsupportedError where a greyscale page is one of several: which of them a viewer shows is not said."""
    if not _is_grey(full):
        return
    axes, declared = _layout(file)
    n = max(len(_alike(pages, full)), declared)
    if n > 1:
        raise UnsupportedError(
            f"expected a colour picture, found {n} greyscale pages of one size (axes {axes or 'not said'}); "
            f"{SAVE_AS_RGB}"
        )


def _is_grey(page: Any) -> bool:
    return bool(page.samplesperpixel == 1 and page.photometric in (0, _GREY))


def _alike(pages: list[Any], full: Any) -> list[Any]:
    def look(page: Any) -> tuple[Any, ...]:
        return page.imagewidth, page.imagelength, page.samplesperpixel, page.dtype, page.photometric

    return [page for page in pages if look(page) == look(full)]


def _layout(file: Any) -> tuple[str, int]:
    """Axes of the first series besides height, width and samples, and how many planes they span."""
    series = file.series[0]
    sizes = {axis: n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS" and n > 1}
    return "".join(sizes), math.prod(sizes.values())


def _ome_channels(text: str) -> list[tuple[str, int]]:
    """Name and colour (RGBA in 32 bits, white where none is said) of each channel of the first picture."""
    root = ElementTree.fromstring(text)
    picture = next((part for part in root.iter() if _local(part) == "Image"), root)
    found = [part.attrib for part in picture.iter() if _local(part) == "Channel"]
    return [(one.get("Name", "").strip(), int(one.get("Color", "-1")) & 0xFFFFFFFF) for one in found]


def _local(part: ElementTree.Element) -> str:
    return part.tag.rpartition("}")[2]
