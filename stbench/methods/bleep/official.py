"""The released BLEEP (github.com/bowang-lab/BLEEP): how to load its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stbench.methods.bleep.method import Bleep
from stbench.methods.bleep.settings import BleepSettings
from stbench.methods.nn.official import load_released, released_state

_ENCODER = "image_encoder."
_CLASS_SIZES = {"image_projection.projection.weight": (256, 2048), "spot_projection.projection.weight": (256, 3467)}


def load_official(
    source: Path | str | Mapping[str, Tensor], *, backbone: str = "resnet50", temperature: float = 1.0
) -> Bleep:
    """A method that embeds as a released checkpoint embeds; give it a bank with :meth:`Bleep.fill_bank`.

    Parameters have the released names. A state dict without image encoder reads vectors used as they are.

    Args:
        source: safetensors or torch file (tensors only), or a state dict.
        backbone: timm network of the checkpoint's image encoder.
        temperature: of its loss; no part of the file, and without effect on predictions.

    Returns:
        A method whose genes are in the order of the checkpoint's, as yet without bank.

    Raises:
        DataError: the file cannot be read, or an entry is missing, unexpected or misshapen; names all of them.
        UnknownNameError: timm has no such backbone.
    """
    state, where = released_state(source)
    patches = any(name.startswith(_ENCODER) for name in state)
    dim, n_inputs = _shape(state, "image_projection.projection.weight")
    n_genes = _shape(state, "spot_projection.projection.weight")[1]
    settings = BleepSettings(
        input="patches" if patches else "features",
        backbone=backbone,
        pixels="raw-bgr",
        projection_dim=dim,
        temperature=temperature,
        standardize_features=False,
    )
    method = Bleep(settings)
    method.sizes_ = {"n_genes": n_genes, "n_features": 0 if patches else n_inputs}
    with torch.random.fork_rng():
        module = method.build(**method.sizes_)
    load_released(module, state, {name: name for name in module.state_dict()}, where)
    method.module_ = module.eval()  # type: ignore[assignment]
    width = method.sizes_["n_features"]
    method.feature_mean_, method.feature_std_ = np.zeros(width, np.float32), np.ones(width, np.float32)
    return method


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    """Shape of a matrix; that of the released class where it is missing, so that the error can name every entry."""
    known = state.get(name)
    if known is None or known.ndim != 2:
        return _CLASS_SIZES[name]
    return known.shape[0], known.shape[1]
