"""Where the tissue of a picture is, and a grid of spots laid over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageArray, ImageSource
from stbench.errors import DataError

THUMBNAIL_PX = 2048
_BLACK = 20  # painted background, never stained tissue
_GRAIN_UM = 25.0  # a nucleus with what is around it
_GRAIN_PX = 2.0  # where the size of a pixel is unknown
_TEXTURE = (0.008, 0.03)  # optical density; glass has 0.001 to 0.003, the palest tissue 0.03
_COVERED = 0.5  # share of a spot that tissue must fill
_LEAST_SHARE = 0.0005  # of the picture; a patch of tissue below it is dust


@dataclass(frozen=True)
class Grid:
    """Spots in rows, over the tissue alone.

    Args:
        xy: (n_spots, 2) float32 centres in full-resolution pixels.
        array_xy: (n_spots, 2) float32 column and row; in a hexagonal grid the columns of a row are two apart.
    """

    xy: NDArray[np.float32]
    array_xy: NDArray[np.float32]


def tissue_mask(picture: ImageArray, um_per_px: float | None = None) -> NDArray[np.bool_]:
    """(height, width) where a picture shows tissue; glass, black margins and dust are left out.

    Tissue is grained and glass is smooth, however pale the one and however unevenly lit the other: the threshold is
    Otsu's on the logarithm of the local standard deviation of optical density.

    Args:
        picture: (height, width, 3) RGB, 0-255, reduced.
        um_per_px: micrometres per pixel of it, None when unknown.
    """
    import cv2

    black = picture.max(axis=2) < _BLACK
    sigma = _GRAIN_PX if um_per_px is None else max(1.0, _GRAIN_UM / um_per_px)
    texture = np.log10(_texture(_density(picture, black), sigma) + _TEXTURE[0] / 10)
    low, high = np.log10(_TEXTURE)
    shades = np.clip((texture - texture.min()) / max(float(np.ptp(texture)), 1e-6) * 255, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(shades, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    otsu = level / 255 * float(np.ptp(texture)) + float(texture.min())
    found = (texture > min(max(otsu, low), high)) & ~black
    radius = round(2 * sigma)  # as far as the window reaches from stained tissue over glass
    halo = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return _without_dust(cv2.erode(found.astype(np.uint8), halo, borderType=cv2.BORDER_REPLICATE) > 0)


def _density(picture: ImageArray, black: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(height, width) mean optical density of the channels against the picture's own glass, 0 where it is black."""
    seen = picture[~black]
    glass = np.percentile(seen, 99, axis=0) if len(seen) else np.full(3, 255.0)
    density = -np.log10((picture.astype(np.float32) + 1) / (glass.astype(np.float32) + 1)).mean(axis=2)
    density[black] = 0
    return np.clip(density, 0, 1.5)


def _texture(density: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """(height, width) standard deviation within a Gaussian window."""
    import cv2

    mean = cv2.GaussianBlur(density, (0, 0), sigma)
    square = cv2.GaussianBlur(density * density, (0, 0), sigma)
    found: NDArray[np.float32] = np.sqrt(np.maximum(square - mean * mean, 0))
    return found


def _without_dust(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= max(4.0, _LEAST_SHARE * found.size)
    large[0] = False  # what is not tissue
    return cast("NDArray[np.bool_]", large[labels])


def tissue_grid(image: ImageSource, name: str, um_per_px: float, pitch_um: float, *, hexagonal: bool) -> Grid:
    """Spots at a distance from each other wherever half of a spot is tissue.

    Args:
        image: the picture.
        name: of the slide, for messages.
        um_per_px: micrometres per full-resolution pixel.
        pitch_um: distance of neighbouring spots in micrometres.
        hexagonal: whether every other row is moved by half a distance, as Visium's are; else a square grid.

    Raises:
        DataError: there is no picture of the whole slide, or no tissue on it.
    """
    size = image.size()
    if size is None:
        raise DataError(f"slide {name}: expected a picture of the whole slide, found patches; give positions: --spots")
    thumbnail = image.thumbnail(THUMBNAIL_PX)
    scale = thumbnail.shape[1] / size[0]
    grid = _laid(size, pitch_um / um_per_px, hexagonal)
    covered = _covered(tissue_mask(thumbnail, um_per_px / scale), grid.xy * scale, pitch_um / um_per_px * scale)
    if not covered.any():
        raise DataError(
            f"slide {name}: expected stained tissue on the picture, found none at {len(grid.xy)} places {pitch_um:.4g} "
            "um apart; check --um-per-px, or give positions: --spots"
        )
    return Grid(grid.xy[covered], grid.array_xy[covered])


def _laid(size: tuple[int, int], pitch_px: float, hexagonal: bool) -> Grid:
    """Every place of the grid, the outer ones half a distance from the margin."""
    step = pitch_px * (np.sqrt(3) / 2 if hexagonal else 1.0)
    rows, columns = (max(1, int(side // distance)) for side, distance in ((size[1], step), (size[0], pitch_px)))
    row, column = (axis.ravel().astype(np.float64) for axis in np.mgrid[:rows, :columns])
    odd = (row % 2) * hexagonal
    xy = np.stack([(column + 0.5 * odd + 0.5) * pitch_px, (row + 0.5) * step], axis=1)
    array = np.stack([2 * column + odd if hexagonal else column, row], axis=1)
    return Grid(xy.astype(np.float32), array.astype(np.float32))


def _covered(mask: NDArray[np.bool_], centres: NDArray[np.float32], side: float) -> NDArray[np.bool_]:
    """Whether tissue fills half of the square around each place of the reduced picture."""
    import cv2

    width = max(1, round(side))
    share = cv2.blur(mask.astype(np.float32), (width, width), borderType=cv2.BORDER_CONSTANT)
    column, row = np.floor(centres).astype(np.int64).T
    inside = (column < mask.shape[1]) & (row < mask.shape[0])
    found = np.zeros(len(centres), dtype=bool)
    found[inside] = share[row[inside], column[inside]] >= _COVERED
    return found
