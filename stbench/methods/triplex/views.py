"""What TRIPLEX sees of a slide: the target of each spot, the tiles around it, and all spots on their grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stbench.errors import DataError
from stbench.features.patches import SlidePatches
from stbench.methods.base import FloatArray, SlideInputs
from stbench.methods.nn.backbone import Backbone
from stbench.methods.triplex.positions import (
    CENTRE,
    SIDE,
    Index,
    array_cells,
    grid_windows,
    pixel_cells,
    tile_mask,
)
from stbench.methods.triplex.settings import TriplexSettings

_SPOTS = 16  # whose 25 tiles are encoded at a time
Tiles = NDArray[np.float16]


@dataclass(frozen=True)
class SlideView:
    """The three views of one slide.

    Args:
        target: (N, d) features, or (N, side, side, 3) uint8 patches, possibly mapped from a file.
        context: (N, c) features of the spots among their slide.
        cells: (N, 2) column and row of each spot.
        windows: (N, 25) rows of ``context`` that stand for the tiles, -1 for none; None where tiles were cut.
        tiles: (N, 25, c) features of tiles that were cut, None where ``windows`` says which spots stand for them.
        mask: (N, 25) True for usable tiles.
    """

    target: NDArray[np.generic]
    context: FloatArray
    cells: Index
    windows: Index | None
    tiles: Tiles | None
    mask: NDArray[np.bool_]

    @property
    def n_spots(self) -> int:
        """N."""
        return len(self.context)

    def own(self, rows: Index) -> Tensor:
        """(b, 1, d) features or (b, side, side, 3) patches of some spots."""
        found = torch.from_numpy(np.ascontiguousarray(self.target[rows]))
        return found.unsqueeze(1) if found.ndim == 2 else found

    def around(self, rows: Index) -> Tensor:
        """(b, 25, c) features of the tiles around some spots, 0 for absent spots."""
        if self.tiles is not None:
            return torch.from_numpy(self.tiles[rows].astype(np.float32))
        assert self.windows is not None
        found = self.context[self.windows[rows]]
        found[self.windows[rows] < 0] = 0
        return torch.from_numpy(found)


def problem(inputs: SlideInputs, settings: TriplexSettings) -> str | None:
    """What a slide lacks for the chosen views, in one line; None if nothing."""
    wanted = [name for name in ("input", "neighbours") if getattr(settings, name) == "patches"]
    if wanted and inputs.patches is None:
        switch = "input=features" if "input" in wanted else "neighbours=grid"
        return f"slide {inputs.slide_id}: expected a picture for {wanted[0]}=patches, found none; --set {switch}"
    if settings.neighbours == "patches" and inputs.patches is not None and _tile_px(inputs) is None:
        return (
            f"slide {inputs.slide_id}: expected a whole picture with a known pixel size for neighbours=patches, found "
            "stored patches or no pixel size; --set neighbours=grid"
        )
    if inputs.array_xy is None and (settings.neighbours == "grid" or settings.positions == "array"):
        return (
            f"slide {inputs.slide_id}: expected array coordinates for neighbours=grid and positions=array, found "
            "none; give them, or --set neighbours=patches --set positions=pixels"
        )
    if inputs.array_xy is None and settings.smooth_labels:
        return f"slide {inputs.slide_id}: expected array coordinates for smooth_labels, found none; leave it off"
    if len(wanted) < 2 and inputs.features.shape[1] == 0:
        return f"slide {inputs.slide_id}: expected image features, found none; choose an encoder, or read patches"
    return None


def check(inputs: SlideInputs, settings: TriplexSettings) -> None:
    """Raise DataError where the slide lacks something."""
    reason = problem(inputs, settings)
    if reason is not None:
        raise DataError(reason)


def _tile_px(inputs: SlideInputs) -> float | None:
    """Side of a tile in full-resolution pixels, None where it is unknown or the picture is not whole."""
    assert inputs.patches is not None
    spec, image = inputs.patches.spec, inputs.patches.image
    if image.size() is None:
        return None
    if spec.px is not None:
        return float(spec.px)
    return None if spec.um is None or image.um_per_px is None else spec.um / image.um_per_px


def tile_features(inputs: SlideInputs, extractor: Backbone, side: int) -> tuple[Tiles, NDArray[np.bool_]]:
    """(N, 25, c) features of the tiles around each spot and their mask (N, 25).

    A tile that reaches beyond the picture is masked and black, as released; the middle one never is.

    Raises:
        DataError: the picture cannot be decoded.
    """
    patches, tile_px = inputs.patches, _tile_px(inputs)
    assert patches is not None
    size = patches.image.size()
    assert tile_px is not None
    assert size is not None
    mask = tile_mask(inputs.xy, tile_px, size)
    found = np.empty((inputs.n_spots, SIDE * SIDE, extractor.dim), dtype=np.float16)
    start = 0
    for batch in patches.batches(side, extent=SIDE, size=_SPOTS):
        rows = slice(start, start + len(batch))
        found[rows] = _encoded(split_tiles(batch, side), mask[rows], extractor)
        start += len(batch)
    return found, mask


def split_tiles(cuts: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(b, 25, side, side, 3) tiles, row by row, of (b, 5 side, 5 side, 3) cuts."""
    parts = cuts.reshape(len(cuts), SIDE, side, SIDE, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(parts.reshape(len(cuts), SIDE * SIDE, side, side, 3))


def _encoded(tiles: NDArray[np.uint8], mask: NDArray[np.bool_], extractor: Backbone) -> Tiles:
    tiles[~mask] = 0
    pixels = torch.from_numpy(tiles).flatten(0, 1).to(extractor.mean.device)
    with torch.no_grad():
        vectors = extractor.in_chunks(pixels).float().cpu().numpy()
    return vectors.reshape(len(tiles), SIDE * SIDE, -1).astype(np.float16)


def grid_cells(inputs: SlideInputs, settings: TriplexSettings) -> Index:
    """(N, 2) cells of the position encoding."""
    if settings.positions == "pixels":
        return pixel_cells(inputs.xy)
    assert inputs.array_xy is not None
    return array_cells(inputs.array_xy)


def patch_array(patches: SlidePatches | None, side: int) -> NDArray[np.uint8]:
    """(N, side, side, 3) patches of a slide that has a picture."""
    assert patches is not None
    return patches.array(side)


def grid_view(inputs: SlideInputs, target: NDArray[np.generic], context: FloatArray, cells: Index) -> SlideView:
    """A slide whose own spots stand for the tiles."""
    assert inputs.array_xy is not None
    windows = grid_windows(inputs.array_xy, inputs.xy)
    return SlideView(target, context, cells, windows, None, windows >= 0)


def tile_view(target: NDArray[np.generic], tiles: Tiles, cells: Index, mask: NDArray[np.bool_]) -> SlideView:
    """A slide whose tiles were cut; a spot among its slide is its middle tile."""
    return SlideView(target, np.ascontiguousarray(tiles[:, CENTRE], dtype=np.float32), cells, None, tiles, mask)
