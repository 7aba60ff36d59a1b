"""State dicts of the released STFlow (github.com/Graph-and-Geometric-Learning/STFlow): their names and panel."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from stbench.methods.nn.released import load_released
from stbench.methods.stflow.network import StFlowNetwork

_NAMES = {  # beginnings of our names
    "image": "image_transform",
    "time.maps": "fourier_proj.mlp",
    "blocks": "backbone.blks",
}
_BLOCK = {
    "attention.norm": "attn.layernorm_qkv.0",
    "attention.qkv": "attn.layernorm_qkv.1",
    "attention.edge": "attn.edge_trans",
    "attention.score": "attn.mlp_attn",
    "attention.out": "attn.W_output",
    "feed": "mlp",
    "head": "gene_updater.output",
}
_MAP = {"first": "fc1", "second": "fc2"}
_HEAD = "backbone.blks.0.gene_updater.output.4.bias"


def released_name(ours: str) -> str:
    """The released name of one of our parameters."""
    block = re.fullmatch(r"blocks\.(\d+)\.(attention\.\w+|feed|head)\.(.+)", ours)
    if block is None:
        stem = next(stem for stem in _NAMES if ours.startswith(f"{stem}."))
        return _NAMES[stem] + ours[len(stem) :]
    number, part, rest = block.groups()
    first, _, last = rest.partition(".")
    rest = f"{_MAP.get(first, first)}.{last}" if last else first
    return f"{_NAMES['blocks']}.{number}.{_BLOCK[part]}.{rest}"


def take_released(network: StFlowNetwork, state: Mapping[str, Tensor], where: str) -> None:
    """Fill a network with a released state dict.

    Args:
        network: built with the sizes of the release and the switches of preset ``official``.
        state: name to tensor.
        where: what the tensors are of, for the message.

    Raises:
        DataError: it is for another number of genes, or entries are missing, unexpected or misshapen; names them.
    """
    names = {name: released_name(name) for name in network.state_dict()}
    hint = "check hidden_dim, edge_dim, layers, activation and the width of the features"
    load_released(network, state, names, where, panel=_HEAD, hint=hint)
