"""Parameter names and checkpoints of the released TRIPLEX (github.com/NEXGEM/TRIPLEX @ 4750051)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from stbench.errors import DataError
from stbench.features.weights import misfit, read_state

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
_OWN = "extractor."  # the released code reads its features from files
_WRAPPER = "model."
_STAGES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_RESNET = re.compile(r"(?:[A-Za-z_]\w*\.)*?((?:conv1|bn1|layer[1-4]|[014567])\..+)")


def official_name(ours: str) -> str:
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


def load_released(network: nn.Module, path: Path) -> None:
    """Load the state dict of a released checkpoint, safetensors or torch (tensors only), into a network of its sizes.

    The wrapper's prefix ``model.`` may be there. The target encoder may lie under any name, with the names of
    torchvision's ResNet or with the numbers of a sequence of its parts.

    Raises:
        DataError: the file cannot be read, or entries are missing, unexpected or misshapen; all of them are named.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(_OWN)}
    official = {name: official_name(name) for name in own}
    expected = {theirs: own[ours] for ours, theirs in official.items()}
    state = _released(read_state(path), expected)
    found = misfit(expected, state, listed=None)
    if found:
        raise DataError(
            f"expected in {path} a released TRIPLEX of the sizes of these settings, found {found}; set emb_dim, the "
            "depths, input and the number of genes as it was trained"
        )
    network.load_state_dict({ours: state[theirs] for ours, theirs in official.items()}, strict=False)


def _released(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
