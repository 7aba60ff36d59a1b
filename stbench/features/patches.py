"""Patches of a slide for methods that read the picture themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageSource, PatchSpec
from stbench.errors import SettingError
from stbench.features.sealed import NOT_THERE, Sealing, flaw
from stbench.files import CHOOSE_CACHE, whole
from stbench.filling import filling
from stbench.reporting import SILENT, Reporter

_BATCH = 64
_SHOWN = 16  # digits of a key in messages
_VERSION = 2  # raise it when cutting, resizing or what is stored changes


@dataclass(frozen=True)
class SlidePatches:
    """The picture around each spot, cut when asked for. It holds no expression.

    Args:
        image: the picture.
        spot_ids: names of the spots.
        xy: (n_spots, 2) float32 spot centres in full-resolution pixels.
        spec: side of the patch the task declares.
        cache_dir: folder where :meth:`array` keeps patches, None keeps them in memory.
        reporter: is told of a damaged entry of that folder.
    """

    image: ImageSource
    spot_ids: list[str]
    xy: NDArray[np.float32]
    spec: PatchSpec
    cache_dir: Path | None = None
    reporter: Reporter = field(default=SILENT, repr=False, compare=False)

    def batches(self, side: int, *, extent: int = 1, size: int = _BATCH) -> Iterator[NDArray[np.uint8]]:
        """(b, extent * side, extent * side, 3) RGB in the order of the spots, b at most ``size``.

        Args:
            side: pixels a patch of the declared size is brought to.
            extent: width of the cut in patches; 5 shows a spot's 5 x 5 neighbourhood at the same resolution. What lies
                outside the picture is white.
            size: spots per batch.

        Raises:
            DataError: the picture cannot be decoded, or patches were stored that do not reach so far.
        """
        cuts = self.image.patches(self.spot_ids, self.xy, widened(self.spec, extent, side))
        while batch := list(islice(cuts, size)):
            yield np.stack(batch)

    def array(self, side: int) -> NDArray[np.uint8]:
        """(n_spots, side, side, 3) RGB, mapped from a file of the cache so that a cohort need not fit in memory.

        Raises:
            DataError: the picture cannot be decoded.
            SettingError: the cache folder cannot be written.
        """
        if self.cache_dir is None:
            return np.concatenate(list(self.batches(side)))
        path = self.cache_dir / "patches" / f"{self._key(side)}.npy"
        if flaw(path):  # an intact entry needs no lock: it is put there whole, perhaps by somebody else
            self._store_once(path, side)
        stored: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
        return stored

    def _store_once(self, path: Path, side: int) -> None:
        """Of several processes that miss the same entry one makes it."""
        with filling(path.parent, path.stem, f"patches {path.stem[:_SHOWN]}", self.reporter):
            if (found := flaw(path)) and found != NOT_THERE:
                self.reporter.info(f"patch cache entry {path} is damaged ({found}); it is rebuilt")
            if found:
                self._store(path, side)

    def _store(self, path: Path, side: int) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(self.spot_ids), side, side, 3)}
        # not through a map: a disk that fills up would end the process
        with whole(path, hint=CHOOSE_CACHE, error=SettingError) as part, part.open("wb") as stream:
            sealing = Sealing(stream)
            np.lib.format.write_array_header_1_0(sealing, header)
            for batch in self.batches(side):
                sealing.write(batch.tobytes())
            sealing.seal()

    def _key(self, side: int) -> str:
        content = self.image.content(widened(self.spec, 1, side))
        said = json.dumps([_VERSION, self.spec.um, self.spec.px, side, content, self.spot_ids])
        return hashlib.sha256(said.encode() + np.ascontiguousarray(self.xy).tobytes()).hexdigest()


def widened(spec: PatchSpec, extent: int, side: int | None = None) -> PatchSpec:
    """A cut ``extent`` patches wide, brought to ``extent * side`` pixels (the declared ones without ``side``)."""
    out = spec.out_px if side is None else side
    return PatchSpec(
        um=None if spec.um is None else spec.um * extent,
        px=None if spec.px is None else spec.px * extent,
        out_px=None if out is None else out * extent,
    )
