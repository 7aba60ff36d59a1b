"""Parameter names of the released HisToGene (github.com/maxpmx/HisToGene)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from stbench.methods.nn.official import load_released

BLOCK = "vit.transformer.layers."
_PARTS = {
    "attention_norm": "0.norm",
    "qkv": "0.fn.to_qkv",
    "out": "0.fn.to_out.0",
    "mlp_norm": "1.norm",
    "mlp_in": "1.fn.net.0",
    "mlp_out": "1.fn.net.3",
}


def official_name(ours: str) -> str:
    """The released name of a parameter of the network."""
    found = re.fullmatch(r"blocks\.(\d+)\.(\w+)\.(\w+)", ours)
    return f"{BLOCK}{found[1]}.{_PARTS[found[2]]}.{found[3]}" if found else ours


def take_released(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a released state dict into a network of its sizes.

    Raises:
        DataError: an entry is missing, unexpected or misshapen; names all of them.
    """
    load_released(module, state, {name: official_name(name) for name in module.state_dict()}, where)
