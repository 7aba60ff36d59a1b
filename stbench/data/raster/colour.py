"""Colours of a TIFF page: what its numbers mean, as a viewer shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageArray
from stbench.data.raster.base import SAVE_AS_RGB, WHITE, UnsupportedError

Samples = NDArray[np.uint8]  # (height, width, samples per pixel)
JPEG = 7
YCBCR = 6
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_MODELS = {
    _WHITE_IS_ZERO: "grey with white as zero",
    _BLACK_IS_ZERO: "grey",
    _RGB: "RGB",
    _PALETTE: "palette colours",
    4: "a transparency mask",
    _CMYK: "CMYK (separated colours)",
    YCBCR: "YCbCr",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "CIE LogL",
    32845: "CIE LogLuv",
    34892: "linear raw",
}
# none, LZW, JPEG, Deflate (two numbers), PackBits, LZMA, Zstandard, WebP, JPEG 2000 (two), JPEG XL (two)
_CODECS = {1, 5, JPEG, 8, 32946, 32773, 34925, 50000, 34926, 50001, 34927, 33005, 34712, 50002, 52546}
_JPEG_2000 = {33005, 34712}
_ASSOCIATED, _UNASSOCIATED = 1, 2  # values of ExtraSamples; 0 says nothing
_COEFFICIENTS, _REFERENCE, _INK_SET, _ORIENTATION, _COLOUR_MAP = 529, 532, 332, 274, 320
_REC_601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0, 255, 128, 255, 128, 255)


@dataclass(frozen=True)
class Colours:
    """How the samples of a page become colours.

    Args:
        of: (height, width, samples) uint8 to (height, width, 3) RGB.
        plain: whether samples are colours as they are.
    """

    of: Callable[[Samples], ImageArray]
    plain: bool = False


def colours_of(page: Any) -> Colours:
    """What the samples of a tifffile.TiffPage mean.

    Raises:
        UnsupportedError: the colour model, depth, codec or orientation is none that is read; it is named.
    """
    _check_codec(page)
    _check_depth(page)
    check_upright(page.tags.valueof(_ORIENTATION, 1))
    if page.compression == JPEG:
        return _of_jpeg(page)
    make = _MAKERS.get((int(page.photometric), page.samplesperpixel))
    if make is None:
        raise refusal(page)
    return make(page)


def refusal(page: Any, more: str = "") -> UnsupportedError:
    """Names the colour model of a page."""
    model = _MODELS.get(int(page.photometric), f"photometric interpretation {int(page.photometric)}")
    return UnsupportedError(
        "expected 8-bit grey, RGB, palette colours, CMYK or YCbCr, "
        f"found {model}, {page.samplesperpixel} x {page.dtype}{more}; {SAVE_AS_RGB}"
    )


def check_upright(orientation: Any) -> None:
    """Raise UnsupportedError where viewers turn a picture: its spots may be counted from another corner."""
    if orientation not in (None, 0, 1):
        raise UnsupportedError(
            f"expected a picture stored upright, found orientation {orientation}, which viewers turn and other "
            "programs do not; turn its pixels as the spots' coordinates ask and save it without that tag"
        )


def _check_codec(page: Any) -> None:
    if int(page.compression) not in _CODECS:
        name = getattr(page.compression, "name", "unknown")
        raise UnsupportedError(
            f"expected a codec that is read, found compression {int(page.compression)} ({name}); "
            "save it with LZW, Deflate, Zstandard or JPEG compression"
        )


def _check_depth(page: Any) -> None:
    packed = page.photometric == _PALETTE and page.bitspersample in (1, 2, 4)
    if not packed and (page.bitspersample != 8 or page.dtype != np.uint8):
        raise UnsupportedError(
            f"expected 8-bit samples, found {page.samplesperpixel} x {page.bitspersample} bit ({page.dtype}); "
            f"scale them to 0-255 and {SAVE_AS_RGB}"
        )
    if page.imagedepth != 1:
        raise UnsupportedError(f"expected one plane, found a volume of {page.imagedepth}; {SAVE_AS_RGB}")


def _of_jpeg(page: Any) -> Colours:
    """The decoder of JPEG gives RGB of grey, RGB and YCbCr."""
    model, samples = int(page.photometric), page.samplesperpixel
    if page.planarconfig != 1 and samples > 1:
        raise refusal(page, " in JPEG, plane by plane")
    if (model, samples) == (_WHITE_IS_ZERO, 1):
        return Colours(_inverted)
    if model in (_BLACK_IS_ZERO, _RGB, YCBCR) and samples in (1, 3):
        return Colours(_shown, plain=True)
    raise refusal(page, " in JPEG")


def _shown(samples: Samples) -> ImageArray:
    return np.broadcast_to(samples[..., :3], (*samples.shape[:2], 3))


def _inverted(samples: Samples) -> ImageArray:
    return np.broadcast_to(WHITE - samples[..., :3], (*samples.shape[:2], 3))


def _plain(page: Any) -> Colours:
    return Colours(_shown, plain=True)


def _white_is_zero(page: Any) -> Colours:
    return Colours(_inverted)


def _with_alpha(page: Any) -> Colours:
    """Transparent colours on white; a further sample that is said to mean nothing is passed over."""
    extra = tuple(int(value) for value in page.extrasamples)
    if extra == (0,) and page.samplesperpixel == 4:
        return _plain(page)
    if extra == (_ASSOCIATED,):
        return Colours(_premultiplied_on_white)
    if extra == (_UNASSOCIATED,) or (not extra and page.samplesperpixel == 4):
        return Colours(_on_white)
    raise refusal(page, " of which one is unnamed")


def _on_white(samples: Samples) -> ImageArray:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(samples)).convert("RGBA")
    return np.asarray(on_white(picture))


def on_white(picture: Any) -> Any:
    """A PIL picture of mode RGBA on white, mode RGB."""
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", picture.size, (WHITE,) * 4), picture).convert("RGB")


def _premultiplied_on_white(samples: Samples) -> ImageArray:
    wide = samples.astype(np.uint16)
    light = np.minimum(wide[..., :-1] + WHITE - wide[..., -1:], WHITE).astype(np.uint8)
    return _shown(light)


def _palette(page: Any) -> Colours:
    """Entries are 16 bits wide; writers that put 8 into them are known by that no entry is larger."""
    if page.colormap is None:
        raise refusal(page, " without a palette")
    table = np.asarray(page.colormap)
    table = (table if table.max(initial=0) < 256 else table >> 8).astype(np.uint8).T
    return Colours(partial(_looked_up, table))


def _looked_up(table: NDArray[np.uint8], samples: Samples) -> ImageArray:
    index = samples[..., 0].astype(np.uint8)
    if len(table) <= int(index.max(initial=0)):
        raise ValueError(f"colour {int(index.max())} of a palette of {len(table)}")
    found: ImageArray = table[index]
    return found


def _cmyk(page: Any) -> Colours:
    if page.tags.valueof(_INK_SET, 1) != 1:
        raise refusal(page, " of inks other than CMYK")
    return Colours(partial(_converted, "CMYK"))


def _ycbcr(page: Any) -> Colours:
    """Three samples for every pixel, in the coefficients and the range that the standard sets where none are said."""
    if int(page.compression) in _JPEG_2000:
        raise refusal(page, " in JPEG 2000")
    if page.is_subsampled:
        raise refusal(page, ", colours at a lower resolution and not in JPEG")
    if not np.allclose(_ratios(page.tags.valueof(_COEFFICIENTS)) or _REC_601, _REC_601, atol=1e-3):
        raise refusal(page, " with coefficients other than those of Rec. 601")
    if not np.allclose(_ratios(page.tags.valueof(_REFERENCE)) or _FULL_RANGE, _FULL_RANGE):
        raise refusal(page, " in another range than 0-255")
    return Colours(partial(_converted, "YCbCr"))


def _ratios(tag: Any) -> list[float]:
    """Fractions of a TIFF tag, numerators and denominators in turn."""
    if tag is None:
        return []
    pairs = np.asarray(tag, dtype=np.float64).reshape(-1, 2)
    return list(pairs[:, 0] / np.maximum(pairs[:, 1], 1))


def _converted(mode: str, samples: Samples) -> ImageArray:
    from PIL import Image

    height, width = samples.shape[:2]
    picture = Image.frombytes(mode, (width, height), np.ascontiguousarray(samples).tobytes())
    return np.asarray(picture.convert("RGB"))


_MAKERS: dict[tuple[int, int], Callable[[Any], Colours]] = {
    (_BLACK_IS_ZERO, 1): _plain,
    (_BLACK_IS_ZERO, 2): _with_alpha,
    (_BLACK_IS_ZERO, 3): _plain,  # as many writers store RGB that were not told what it is
    (_WHITE_IS_ZERO, 1): _white_is_zero,
    (_RGB, 3): _plain,
    (_RGB, 4): _with_alpha,
    (_PALETTE, 1): _palette,
    (_CMYK, 4): _cmyk,
    (YCBCR, 3): _ycbcr,
}
