"""HisToGene built from a reference file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stbench.methods.histogene.network import HisToGeneNetwork
from stbench.methods.histogene.released import released_name
from stbench.methods.histogene.settings import HisToGeneSettings
from stbench.proofs.parity.names import load_official
from stbench.proofs.parity.reference import Reference


def load_network(reference: Reference) -> HisToGeneNetwork:
    """The network with the parameters of a reference file.

    Raises:
        DataError: config and parameters do not fit each other.
    """
    settings = HisToGeneSettings(
        patch_px=reference.setting("constructor", "patch_size"),
        dim=reference.setting("constructor", "dim"),
        layers=reference.setting("constructor", "n_layers"),
        dropout=reference.setting("constructor", "dropout"),
        heads=reference.setting("heads"),
        head_dim=reference.setting("dim_head"),
        mlp_ratio=reference.setting("mlp_dim") / reference.setting("constructor", "dim"),
    )
    rows = reference.setting("constructor", "n_pos")
    network = HisToGeneNetwork(settings, reference.setting("constructor", "n_genes"), 0, rows, rows)
    load_official(network, {name: released_name(name) for name in network.state_dict()}, (), reference)
    return network.eval()


def model(reference: Reference) -> dict[str, Tensor]:
    """Tokens, hidden states, prediction, loss and its gradients."""
    network = load_network(reference)
    patches, centers = reference.input("patches"), reference.input("centers")
    with torch.no_grad():
        tokens = network.tokens(patches, centers)
        found = {"tokens": tokens, "hidden": network.hidden(tokens), "pred": network(patches, centers)}
    network.train()
    loss = torch.nn.functional.mse_loss(network(patches, centers), reference.input("target"))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {
        f"grad/{released_name(name)}": parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    return {**found, "loss": loss.detach(), **gradients}


COMPONENTS: dict[str, Callable[[Reference], dict[str, Tensor]]] = {"model": model}
