"""Where the H&E picture of a slide comes from: a full image, or patches somebody cut before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ImageArray = NDArray[np.uint8]  # (height, width, 3) RGB


@dataclass(frozen=True)
class PatchSpec:
    """Geometry of the square cut around each spot; exactly one of ``um`` and ``px`` is given.

    Args:
        um: side in micrometres.
        px: side in full-resolution pixels.
        out_px: side of the patch handed to the encoder; None keeps the source resolution.
    """

    um: float | None = None
    px: int | None = None
    out_px: int | None = None


class ImageSource(ABC):
    """Serves the picture of one slide.

    Attributes:
        um_per_px: micrometres per full-resolution pixel, None when unknown.
        reading: version of the decoder; raise it when pictures are refused that were read.
        finer: what to do for a picture of more resolution; empty where nothing is known.
    """

    um_per_px: float | None
    reading: int = 1
    finer: str = ""

    @abstractmethod
    def digest(self) -> str:
        """Hash of the picture's bytes and of how they are shown, part of a task's identity."""

    def content(self, spec: PatchSpec | None = None) -> str:
        """Hash for the keys of caches: changes with :meth:`digest`, and when pictures are refused that were read.

        Args:
            spec: patches that are kept, where other pixels serve patches of that geometry than of others.
        """
        return f"{self.digest()}/{self.reading}" if self.reading > 1 else self.digest()

    def held(self) -> AbstractContextManager[None]:
        """A block in which the picture is decoded once for all that is asked of it."""
        return nullcontext()

    @abstractmethod
    def size(self) -> tuple[int, int] | None:
        """(width, height) of the full-resolution image in pixels, None when only patches exist. Does not decode it."""

    @abstractmethod
    def thumbnail(self, longest_px: int) -> ImageArray:
        """The picture reduced by area averaging so that no side is longer than ``longest_px``."""

    @abstractmethod
    def patches(self, spot_ids: list[str], xy: NDArray[np.float32], spec: PatchSpec) -> Iterator[ImageArray]:
        """(side, side, 3) patches in the order of ``spot_ids``; what lies outside the picture is filled with white.

        Raises:
            DataError: the picture cannot be decoded, or ``spec`` needs a pixel size that is unknown.
        """
