"""State dicts of the released TRIPLEX (github.com/NEXGEM/TRIPLEX @ 4750051): their names and sizes."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from torch import Tensor, nn

from stbench.errors import DataError
from stbench.methods.nn.released import load_released
from stbench.methods.triplex.network import TriplexNetwork
from stbench.methods.triplex.positions import SIDE

_BLOCK = {
    "norm": "0.norm",
    "attention.table": "0.fn.attention_biases",
    "attention.qkv": "0.fn.to_qkv",
    "attention.q": "0.fn.to_q",
    "attention.kv": "0.fn.to_kv",
    "attention.out": "0.fn.to_out",
    "mlp_norm": "1.norm",
    "mlp": "1.fn.net",
}
_PARTS = {
    "target_in": "target_linear",
    "neighbour_encoder": "neighbor_encoder",
    "head": "fc",
    "target_head": "fc_target",
    "neighbour_head": "fc_neighbor",
    "slide_head": "fc_global",
    "backbone.model": "target_encoder",
}
_ENCODERS = ("neighbor_encoder", "global_encoder", "fusion_encoder")
_TABLE = ".attention_biases"
_OWN = "extractor."  # the released code reads its features from files
_WRAPPER = "model."
_STAGES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_RESNET = re.compile(r"(?:[A-Za-z_]\w*\.)*?((?:conv1|bn1|layer[1-4]|[014567])\..+)")


def released_name(ours: str) -> str:
    """Released name of a parameter of the whole network."""
    for stem, theirs in _PARTS.items():
        if ours.startswith(f"{stem}."):
            ours = theirs + ours.removeprefix(stem)
            break
    part, _, name = ours.partition(".")
    return f"{part}.{encoder_name(part, name)}" if part in _ENCODERS else ours


def encoder_name(part: str, ours: str) -> str:
    """Released name of a parameter of one encoder (``neighbor_encoder``, ``global_encoder``, ``fusion_encoder``)."""
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", ours)
    if found is None:
        return ours.replace("position.conv", "pos_layer.proj")
    number, rest = found.groups()
    stem = max((stem for stem in _BLOCK if rest == stem or rest.startswith(f"{stem}.")), key=len)
    return f"{_stack(part, int(number))}.{_BLOCK[stem]}{rest.removeprefix(stem)}"


def _stack(part: str, block: int) -> str:
    """Where a block lies: the released global encoder keeps its first one apart."""
    if part == "global_encoder":
        return "layer1.layers.0" if block == 0 else f"layer2.layers.{block - 1}"
    return f"{'layer' if part == 'neighbor_encoder' else 'fusion_layer'}.layers.{block}"


def take_released(network: TriplexNetwork, state: Mapping[str, Tensor], where: str) -> None:
    """Fill a network with a released state dict.

    The wrapper's prefix ``model.`` may be there. The target encoder may lie under any name, with the names of
    torchvision's ResNet or with the numbers of a sequence of its parts.

    Args:
        network: of the same sizes.
        state: released name to tensor.
        where: what the tensors are of, for the message.

    Raises:
        DataError: features are not as wide as tokens, the neighbourhood has another size, or entries are missing,
            unexpected or misshapen; all of them are named.
    """
    if isinstance(network.slide_in, nn.Linear):
        raise DataError(
            f"{where}: expected features {network.slide_in.out_features} wide (emb_dim), found "
            f"{network.slide_in.in_features}; use the encoder and the emb_dim it was trained with"
        )
    names = {name: released_name(name) for name in network.state_dict() if not name.startswith(_OWN)}
    renamed = _renamed(state, set(names.values()))
    _check_neighbourhood(renamed, where)
    hint = "set emb_dim, the depths, input and the number of genes as it was trained"
    load_released(network, renamed, names, where, hint=hint)


def _check_neighbourhood(state: Mapping[str, Tensor], where: str) -> None:
    """The tables of relative positions have a column per tile."""
    tables = {name: table for name, table in state.items() if name.endswith(_TABLE) and table.ndim == 2}
    for name, table in tables.items():
        if table.shape[1] != SIDE**2:
            raise DataError(
                f"{where}: expected a table of relative positions of {SIDE} x {SIDE} tiles, (heads, {SIDE**2}), found "
                f"{tuple(table.shape)} in {name}; take a model trained with res_neighbor [{SIDE}, {SIDE}]"
            )


def _renamed(state: Mapping[str, Tensor], expected: Container[str]) -> dict[str, Tensor]:
    """The entries under the names of the network's own; those that fit none keep theirs."""
    found = {}
    for name, tensor in state.items():
        plain = name.removeprefix(_WRAPPER)
        candidates = (plain, _resnet_name(plain))
        found[next((candidate for candidate in candidates if candidate in expected), plain)] = tensor
    return found


def _resnet_name(name: str) -> str:
    found = _RESNET.fullmatch(name)
    if found is None:
        return name
    stage, rest = found[1].split(".", 1)
    return f"{_PARTS['backbone.model']}.{_STAGES.get(stage, stage)}.{rest}"
