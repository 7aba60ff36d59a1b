"""State dicts of the released STFlow code (github.com/Graph-and-Geometric-Learning/STFlow): their names and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from stbench.errors import DataError
from stbench.features.weights import misfit
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


def load_released(network: StFlowNetwork, state: Mapping[str, Tensor], where: str) -> None:
    """Fill a network with a released state dict.

    Args:
        network: built with the sizes of the release and the switches of preset ``official``.
        state: name to tensor.
        where: the file, for messages.

    Raises:
        DataError: it is for another number of genes, or entries are missing, unexpected or misshapen; names them.
    """
    own = network.state_dict()
    expected = {released_name(name): tensor for name, tensor in own.items()}
    _check_panel(expected, state, where)
    found = misfit(expected, state)
    if found:
        raise DataError(
            f"released STFlow weights in {where}: expected those of the settings, found {found}; "
            f"check hidden_dim, edge_dim, layers, activation and the width of the features"
        )
    with torch.no_grad():
        network.load_state_dict({name: state[released_name(name)].detach().clone() for name in own})


def _check_panel(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str) -> None:
    if _HEAD in state and state[_HEAD].shape != expected[_HEAD].shape:
        raise DataError(
            f"released STFlow weights in {where}: expected a panel of {len(expected[_HEAD])} genes, found one of "
            f"{state[_HEAD].numel()} ({_HEAD}); ask for that panel or train anew"
        )
