"""BLEEP built from a reference file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stbench.methods.bleep.losses import contrastive_loss, logits, soft_targets
from stbench.methods.bleep.network import BleepNetwork
from stbench.methods.bleep.retrieval import predict_from, retrieve
from stbench.methods.bleep.settings import BleepSettings
from stbench.proofs.parity.names import load_official
from stbench.proofs.parity.reference import Reference

_VARIANTS = ("simple", "average", "weighted_average")


def load_network(reference: Reference) -> BleepNetwork:
    """The network, heads alone, with the parameters of a reference file.

    Raises:
        DataError: config and parameters do not fit each other.
    """
    settings = BleepSettings(
        input="features", projection_dim=reference.setting("projection_dim"), dropout=reference.setting("dropout")
    )
    sizes = (reference.setting("constructor", f"{kind}_embedding") for kind in ("spot", "image"))
    network = BleepNetwork(settings, *sizes)
    load_official(network, {name: name for name in network.state_dict()}, (), reference)
    return network.eval()


def model(reference: Reference) -> dict[str, Tensor]:
    """Embeddings, logits, targets, both losses, gradients and the three retrieved predictions."""
    network = load_network(reference)
    temperature = float(reference.setting("constructor", "temperature"))
    found = _retrieved(network, reference)
    image, spot = network.train()(reference.input("image_features"), reference.input("expression"))
    similarity, targets = logits(image, spot, temperature), soft_targets(image, spot, 1 / temperature)
    loss = contrastive_loss(similarity, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        multiplied = contrastive_loss(similarity, soft_targets(image, spot, temperature))
    gradients = {f"grad/{name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    with torch.no_grad():
        image, spot = network.eval()(reference.input("image_features"), reference.input("expression"))
        found |= {
            "image_embeddings": image,
            "spot_embeddings": spot,
            "logits": logits(image, spot, temperature),
            "targets": soft_targets(image, spot, 1 / temperature),
        }
    return {**found, "loss": loss.detach(), "loss_target_times_temperature": multiplied, **gradients}


@torch.no_grad()
def _retrieved(network: BleepNetwork, reference: Reference) -> dict[str, Tensor]:
    expression = reference.input("bank_expression")
    query, bank = network.embed_images(reference.input("query_features")), network.embed_spots(expression)
    rows = retrieve(query.numpy(), bank.numpy(), reference.setting("top_k"))
    predicted = {
        f"retrieval/{how}": torch.from_numpy(
            predict_from(query.numpy(), bank.numpy(), expression.numpy(), rows, how, queries=3)
        )
        for how in _VARIANTS
    }
    return {"query_embeddings": query, "bank_embeddings": bank, "topk_indices": rows, **predicted}


COMPONENTS: dict[str, Callable[[Reference], dict[str, Tensor]]] = {"model": model}
