"""Renderings of tissue on a background that was painted black."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageArray, PatchSpec
from stbench.data.images import ImageFile, cut_px
from stbench.data.raster import OnGlass, open_raster
from stbench.data.remembered import remembered

_VERSION = 1  # raise it when what is taken for paint changes
_SHOWN = "painted background as its own glass, at full resolution"


class PaintedFile(ImageFile):
    """A reduced rendering on a background painted black: shown on its own glass, at the size of the full picture."""

    def digest(self) -> str:
        """Hash of the file's bytes, the scale, and that the background is shown as glass."""
        return hashlib.sha256(f"{super().digest()} {_SHOWN}".encode()).hexdigest()

    def patches(self, spot_ids: Sequence[str], xy: NDArray[np.float32], spec: PatchSpec) -> Iterator[ImageArray]:
        """As of any picture; without ``out_px`` enlarged to the side that the cut has at full resolution.

        What measures textures in pixels meets the same tissue in as many pixels as on the slides beside this one.
        """
        side = cut_px(spec, self.um_per_px, str(self.path))
        shown = spec if spec.out_px else replace(spec, out_px=max(1, math.floor(side + 0.5)))
        return super().patches(spot_ids, xy, shown)

    def on_paint(self, xy: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(n_spots,) whether centres (n_spots, 2), full-resolution pixels, lie on the painted background or beyond.

        Raises:
            DataError: the picture cannot be decoded.
        """
        places = np.ascontiguousarray(xy, dtype=np.float64)
        about = ["paint", _VERSION, self.digest(), hashlib.sha256(places.tobytes()).hexdigest()]
        return np.asarray(remembered(about, lambda: {"paint": self._on_paint(places)})["paint"], dtype=np.bool_)

    def _on_paint(self, xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        with self._open() as raster:
            column, row = np.floor(xy.T * self.scale)
            inside = (column >= 0) & (row >= 0) & (column < raster.size[0]) & (row < raster.size[1])
            found = ~inside
            found[inside] = raster.paint[row[inside].astype(np.int64), column[inside].astype(np.int64)]
        return np.asarray(found, dtype=np.bool_)

    @contextmanager
    def _open(self) -> Iterator[OnGlass]:
        with open_raster(self.path) as raster:
            yield OnGlass(raster)
