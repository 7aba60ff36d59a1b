"""State dicts of the released HisToGene (github.com/maxpmx/HisToGene): their names and sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from stbench.errors import DataError
from stbench.methods.histogene.settings import HisToGeneSettings
from stbench.methods.nn.released import load_released, matrix_shape

_BLOCK = "vit.transformer.layers."
_PARTS = {
    "attention_norm": "0.norm",
    "qkv": "0.fn.to_qkv",
    "out": "0.fn.to_out.0",
    "mlp_norm": "1.norm",
    "mlp_in": "1.fn.net.0",
    "mlp_out": "1.fn.net.3",
}
_HEADS, _HEAD_DIM, _COLOURS = 16, 64, 3  # fixed in the released code
_EMBEDDING = "patch_embedding.weight"
_CLASS_SIZES = {  # defaults of the released class
    _EMBEDDING: (1024, 3 * 112**2),
    "x_embed.weight": (64, 1024),
    "y_embed.weight": (64, 1024),
    "gene_head.1.weight": (1000, 1024),
}

Input = Literal["patches", "features"]


def released_name(ours: str) -> str:
    """The released name of a parameter of the network."""
    found = re.fullmatch(r"blocks\.(\d+)\.(\w+)\.(\w+)", ours)
    return f"{_BLOCK}{found[1]}.{_PARTS[found[2]]}.{found[3]}" if found else ours


def take_released(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Fill a network with a released state dict.

    Args:
        network: of the same sizes.
        state: released name to tensor.
        where: what the tensors are of, for the message.

    Raises:
        DataError: an entry is missing, unexpected or misshapen; names all of them.
    """
    load_released(network, state, {name: released_name(name) for name in network.state_dict()}, where)


def released_settings(state: Mapping[str, Tensor], input: Input, where: str) -> HisToGeneSettings:
    """The settings under which HisToGene is what was released, at the sizes of a state dict.

    Args:
        state: released name to tensor.
        input: what its patch embedding reads.
        where: what the tensors are of, for the message.

    Raises:
        DataError: it reads no square patches of three colours, though ``input`` says so.
    """
    dim, width = _shape(state, _EMBEDDING)
    side = math.isqrt(width // _COLOURS)
    if input == "patches" and _COLOURS * side**2 != width:
        raise DataError(
            f"{where}: expected a patch embedding of 3 P^2 inputs, found {width}; load it as input=features"
        )
    blocks = {name.removeprefix(_BLOCK).split(".")[0] for name in state if name.startswith(_BLOCK)}
    return HisToGeneSettings(
        input=input,
        patch_px=side if input == "patches" else 112,
        dim=dim,
        layers=max(1, len(blocks)),
        heads=_HEADS,
        head_dim=_HEAD_DIM,
        unseen_positions="initial",
        standardize_features=False,
    )


def released_sizes(state: Mapping[str, Tensor], input: Input) -> dict[str, int]:
    """``n_genes``, ``n_features``, ``n_x`` and ``n_y`` of a state dict; no features where it reads patches."""
    return {
        "n_genes": _shape(state, "gene_head.1.weight")[0],
        "n_features": _shape(state, _EMBEDDING)[1] if input == "features" else 0,
        "n_x": _shape(state, "x_embed.weight")[0],
        "n_y": _shape(state, "y_embed.weight")[0],
    }


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    return matrix_shape(state, name, _CLASS_SIZES[name])
