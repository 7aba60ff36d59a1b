"""The turned and mirrored patches that Stem adds to its training spots."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stbench.errors import DataError
from stbench.methods.base import FloatArray, SlideInputs
from stbench.methods.nn.backbone import Backbone

N_VIEWS = 7  # symmetries of the square, the patch as it is left out


def view(patches: Tensor, kind: int) -> Tensor:
    """One of the 7 views of patches (b, side, side, 3): kinds 0-2 are quarter turns, 3-6 mirrored and turned."""
    turned = torch.rot90(patches, (kind + 1) % 4, (1, 2))
    return turned.flip(2) if kind >= 3 else turned


@torch.no_grad()
def view_vectors(
    backbone: Backbone, inputs: SlideInputs, side: int, views: int, rng: np.random.Generator
) -> FloatArray:
    """(n_spots, views, d) vectors of views drawn for each spot without replacement.

    Args:
        backbone: frozen network.
        inputs: a slide with its picture.
        side: pixels a patch's side is brought to.
        views: how many of the 7.
        rng: of the draws.

    Raises:
        DataError: the slide has no picture, or it cannot be decoded.
    """
    if inputs.patches is None:
        raise DataError(f"slide {inputs.slide_id}: expected a picture to cut patches from, found none")
    device = backbone.mean.device
    parts: list[Tensor] = []
    for batch in inputs.patches.batches(side):
        patches = torch.from_numpy(batch).to(device)
        encoded = [backbone(view(patches, kind)).float().cpu() for kind in range(N_VIEWS)]
        parts.append(torch.stack(encoded, dim=1))
    drawn = rng.permuted(np.tile(np.arange(N_VIEWS), (inputs.n_spots, 1)), axis=1)[:, :views]
    vectors: FloatArray = np.take_along_axis(torch.cat(parts).numpy(), drawn[:, :, None], axis=1)
    return vectors
