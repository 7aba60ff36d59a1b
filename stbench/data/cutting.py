"""Squares of a picture: which level they are cut from, white beyond its margin, and how they are resized."""

from __future__ import annotations

import math

import numpy as np

from stbench.data.image import ImageArray
from stbench.data.raster import WHITE, Level, Raster

_SHRINKS = 4  # a cut this many times wider than its patch; at less, reading is a small part of describing it
_ASKEW_PX = 2.0  # by which the sides of a reduced copy differ from those of the picture, which are rounded


def rounded(side: float) -> int:
    """A side in whole pixels, at least one."""
    return max(1, math.floor(side + 0.5))


def level_for(raster: Raster, asked: float, out_px: int) -> Level:
    """The level of a picture to cut from: the coarsest that a patch is not enlarged from.

    Args:
        raster: the open picture.
        asked: side of the cut in full-resolution pixels.
        out_px: side it is brought to; where that is more than a quarter of the cut, the full picture is taken.
    """
    if asked < _SHRINKS * out_px:
        return raster.levels[0]
    width, height = raster.size
    fine = [
        level
        for level in raster.levels
        if rounded(asked * level.size[0] / width) >= out_px
        and abs(level.size[0] * height / width - level.size[1]) <= _ASKEW_PX
    ]
    return min(fine, key=lambda level: level.size)


def crop(level: Level, left: int, top: int, side: int) -> ImageArray:
    """(side, side, 3) pixels of a level, white beyond the margin."""
    patch = np.full((side, side, 3), WHITE, dtype=np.uint8)
    width, height = level.size
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    if x0 < x1 and y0 < y1:
        patch[y0 - top : y1 - top, x0 - left : x1 - left] = level.region(x0, y0, x1 - x0, y1 - y0)
    return patch


def resized(pixels: ImageArray, width: int, height: int) -> ImageArray:
    """Area averaging where it shrinks, bilinear where it enlarges, as HEST's patches are made."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = width * height < pixels.shape[0] * pixels.shape[1]
    found = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(found, dtype=np.uint8)
