"""State dicts of the released Stem (github.com/SichenZhu/Stem): their names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from stbench.methods.nn.dit import RELEASED_NAMES
from stbench.methods.nn.dit import released_name as dit_name
from stbench.methods.nn.released import load_released
from stbench.methods.stem.network import StemNetwork

_NAMES = {**RELEASED_NAMES, "condition": "label_embed"}
_GENES = "gene_joint_embed.gene_name_ebd"
_OWN = "backbone."  # the released code reads its features from files


def released_names(network: StemNetwork) -> dict[str, str]:
    """Released name by our name, for every parameter that is released."""
    return {name: dit_name(name, _NAMES) for name in network.state_dict() if not name.startswith(_OWN)}


def take_released(network: StemNetwork, state: Mapping[str, Tensor], where: str) -> None:
    """Fill a network with a released state dict.

    Args:
        network: of the same sizes.
        state: released name to tensor.
        where: what the tensors are of, for the message.

    Raises:
        DataError: it is of another panel size, or an entry is missing, unexpected or misshapen; names all of them.
    """
    hint = "set hidden_dim, dit_layers and the encoder as it was trained"
    load_released(network, state, released_names(network), where, panel=_GENES, hint=hint)
