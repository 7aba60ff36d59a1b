"""Weights of the released Stem code (github.com/SichenZhu/Stem) for our network."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stbench.errors import DataError
from stbench.features.weights import read_state
from stbench.methods.nn.dit import RELEASED_NAMES, released_name
from stbench.methods.nn.official import load_released as load_named
from stbench.methods.stem.network import StemNetwork

_NAMES = {**RELEASED_NAMES, "condition": "label_embed"}
_GENES = "gene_joint_embed.gene_name_ebd"
_WRAPPERS = ("ema", "model", "state_dict")  # the averaged weights are what the released code samples with


def released_names(network: StemNetwork) -> dict[str, str]:
    """Released name by our name, for every parameter."""
    return {name: released_name(name, _NAMES) for name in network.state_dict()}


def load_released(network: StemNetwork, file: Path) -> None:
    """Read a state dict of the released code, or a training checkpoint that holds one; the averaged one if both are in.

    Args:
        network: of the same sizes.
        file: safetensors or torch; nothing in it is executed.

    Raises:
        DataError: the file cannot be read, is of another panel size, or an entry is missing, unexpected or misshapen.
    """
    if not file.is_file():
        raise DataError(f"expected released weights of stem at {file}, found no such file; check the setting weights")
    with torch.serialization.safe_globals([argparse.Namespace]):  # released checkpoints keep their arguments
        state = read_state(file, _WRAPPERS)
    load_state(network, state, f"released weights {file}")


def load_state(network: StemNetwork, state: Mapping[str, Tensor], where: str) -> None:
    """Load tensors under released names.

    Args:
        network: of the same sizes.
        state: released name to tensor.
        where: what the tensors are of, for the message.

    Raises:
        DataError: as :func:`load_released`.
    """
    n_genes, genes = len(network.genes.gene), state.get(_GENES)
    if genes is not None and genes.ndim == 2 and len(genes) != n_genes:
        raise DataError(
            f"{where}: expected a panel of {n_genes} genes as in this task, found weights for {len(genes)} genes "
            f"({_GENES}); run with --genes {len(genes)} and the panel they were trained on"
        )
    load_named(network, state, released_names(network), where)
