"""A method made of a checkpoint of the released HisToGene (github.com/maxpmx/HisToGene) alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stbench.errors import DataError
from stbench.methods.histogene.method import HisToGene
from stbench.methods.histogene.released import BLOCK, take_released
from stbench.methods.histogene.settings import HisToGeneSettings
from stbench.methods.nn.official import released_state

_HEADS, _HEAD_DIM, _COLOURS = 16, 64, 3  # fixed in the released code
_EMBEDDING = "patch_embedding.weight"
_CLASS_SIZES = {  # defaults of the released class
    _EMBEDDING: (1024, 3 * 112**2),
    "x_embed.weight": (64, 1024),
    "y_embed.weight": (64, 1024),
    "gene_head.1.weight": (1000, 1024),
}


def load_official(
    source: Path | str | Mapping[str, Tensor], *, input: Literal["patches", "features"] = "patches"
) -> HisToGene:
    """A method that computes what a released checkpoint computes.

    Args:
        source: safetensors or torch file (tensors only), or a state dict.
        input: what the checkpoint's patch embedding reads: pixels of P x P patches, or vectors used as they are.

    Returns:
        A fitted method whose genes are in the order of the checkpoint's.

    Raises:
        DataError: the file cannot be read, or an entry is missing, unexpected or misshapen; names all of them.
    """
    state, where = released_state(source)
    method = HisToGene(_settings(state, input, where))
    method.sizes_ = {
        "n_genes": _size(state, "gene_head.1.weight", 0),
        "n_features": _size(state, _EMBEDDING, 1) if input == "features" else 0,
        "n_x": _size(state, "x_embed.weight", 0),
        "n_y": _size(state, "y_embed.weight", 0),
    }
    with torch.device("cpu"), torch.random.fork_rng():
        module = method.build(**method.sizes_)
    take_released(module, state, where)
    method.module_ = module.eval()  # type: ignore[assignment]
    _fill_statistics(method)
    return method


def _settings(state: Mapping[str, Tensor], input: Literal["patches", "features"], where: str) -> HisToGeneSettings:
    width = _size(state, _EMBEDDING, 1)
    side = math.isqrt(width // _COLOURS)
    if input == "patches" and _COLOURS * side**2 != width:
        raise DataError(
            f"{where}: expected a patch embedding of 3 P^2 inputs, found {width}; load it as input=features"
        )
    blocks = {name.removeprefix(BLOCK).split(".")[0] for name in state if name.startswith(BLOCK)}
    return HisToGeneSettings(
        input=input,
        patch_px=side if input == "patches" else 112,
        dim=_size(state, _EMBEDDING, 0),
        layers=max(1, len(blocks)),
        heads=_HEADS,
        head_dim=_HEAD_DIM,
        unseen_positions="initial",
        standardize_features=False,
    )


def _size(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    """Size of a matrix; that of the released class where it is missing, so that the error can name every entry."""
    known = state.get(name)
    return _CLASS_SIZES[name][axis] if known is None or known.ndim != 2 else known.shape[axis]


def _fill_statistics(method: HisToGene) -> None:
    """A released checkpoint holds no statistics and needs none: everything is read as it is."""
    sizes = method.sizes_
    method.gene_mean_ = np.zeros(sizes["n_genes"], dtype=np.float32)
    method.gene_std_ = np.ones(sizes["n_genes"], dtype=np.float32)
    method.feature_mean_ = np.zeros(sizes["n_features"], dtype=np.float32)
    method.feature_std_ = np.ones(sizes["n_features"], dtype=np.float32)
    method.seen_x_, method.seen_y_ = np.arange(sizes["n_x"]), np.arange(sizes["n_y"])
    method.balance_ = []
