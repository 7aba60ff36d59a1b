"""What an image encoder is: something that turns an H&E patch into a vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
PatchArray = NDArray[np.uint8]  # (b, side, side, 3) RGB

PRECOMPUTED = "precomputed"
TIMM = "timm:"


class Encoder(ABC):
    """Turns patches into vectors.

    Attributes:
        key: identity of the computation: name, version, hash of weights and transform. Equal keys, equal features.
        dim: width of a vector.
        context: side of the patches :meth:`encode` wants, in multiples of the side the task declares.
        least_px: fewest pixels of a patch's side that it can describe.
        remark: what a user should know of it, one line; empty where there is nothing.
        bounded: whether its vectors are known to be of a size that half precision on disk holds well; those of others
            are looked at, slide by slide.
        sources: slide to the hash of the file its features come from; empty where they come from pictures.
    """

    key: str
    dim: int
    context: int = 1
    least_px: int = 1
    remark: str = ""
    bounded: bool = False
    sources: Mapping[str, str] = MappingProxyType({})

    def of(self, slide_ids: Sequence[str]) -> Encoder:
        """The encoder of these slides, whose key tells apart what may differ between them: itself.

        Raises:
            DataError: it has no features for some of them.
        """
        return self

    @abstractmethod
    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        """Encode a batch; a patch's vector does not depend on the rest of the batch.

        Args:
            patches: (b, side, side, 3) uint8 RGB.
            white_point: (3,) colour of bare glass on the slide, 0-255.
            um_per_px: micrometres per pixel of the patches, None when unknown.

        Returns:
            (b, dim) float32.

        Raises:
            DataError: the patches are too small or of the wrong shape.
        """
