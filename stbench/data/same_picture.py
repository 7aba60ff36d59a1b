"""Whether two slides whose spots lie at the same places show the same colours there, however their files were saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageSource, PatchSpec
from stbench.data.slide import Slide
from stbench.errors import UserError

Places = NDArray[np.uint64]

_PROBES, _FEWEST = 24, 8
_PATCH = PatchSpec(px=9)
_APART = 0.3  # of the spread of colours over spots; sections of their own differ by more than the spread
_LEAST_SPREAD = 2.0  # levels: blank pictures tell nothing


@dataclass
class Probed:
    """Where the spots of a slide lie on its picture, and the colour at some of them, read when first asked for.

    Args:
        image: a whole picture.
        places: (n_spots,) one number per place in whole pixels.
        probes: places that are looked at: of the same spots whatever their order.
        names: names of the spots there.
        xy: (n_probes, 2) their centres in full-resolution pixels.
    """

    image: ImageSource
    places: Places
    probes: Places
    names: list[str]
    xy: NDArray[np.float32]

    @classmethod
    def of(cls, slide: Slide) -> Probed | None:
        """A slide with a whole picture; None for others, whose patches say nothing of the places between them."""
        try:
            if slide.image is None or slide.image.size() is None:
                return None
        except UserError:
            return None
        places = _places(slide)
        rows = np.argsort(places * np.uint64(0x9E3779B97F4A7C15), kind="stable")[:_PROBES]
        names = [str(name) for name in slide.adata.obs_names[rows]]
        return cls(slide.image, places, places[rows], names, slide.xy[rows])

    @cached_property
    def colours(self) -> dict[int, NDArray[np.float64]]:
        """Place to mean colour, 0-255; empty where the picture cannot be read."""
        try:
            patches = list(self.image.patches(self.names, self.xy, _PATCH))
        except UserError:
            return {}
        return {int(place): patch.mean(axis=(0, 1)) for place, patch in zip(self.probes, patches, strict=True)}


def same_colours(first: Probed, second: Probed) -> bool:
    """Whether the colours at the places that both have are the same but for how a picture was saved."""
    shared = sorted(first.colours.keys() & second.colours.keys())
    if len(shared) < _FEWEST:
        return False
    own, others = (_table(one.colours, shared) for one in (first, second))
    spread = float(np.mean([own.std(axis=0), others.std(axis=0)]))
    return spread >= _LEAST_SPREAD and float(np.abs(own - others).mean()) <= _APART * spread


def _table(colours: dict[int, NDArray[np.float64]], places: Iterable[int]) -> NDArray[np.float64]:
    return np.stack([colours[place] for place in places])


def _places(slide: Slide) -> Places:
    """(n_spots,) one number per place in whole pixels."""
    x, y = np.rint(slide.xy).astype(np.int64).T.astype(np.uint64)
    places: Places = (x << np.uint64(32)) + y
    return places
