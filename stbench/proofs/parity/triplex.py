"""TRIPLEX's encoders and its whole network, built from a reference file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.methods.triplex.blocks import Block, WindowAttention
from stbench.methods.triplex.losses import loss_terms
from stbench.methods.triplex.network import (
    FusionEncoder,
    GlobalEncoder,
    NeighbourEncoder,
    Tokens,
    TriplexNetwork,
)
from stbench.methods.triplex.positions import SIDE, pixel_cells
from stbench.methods.triplex.released import encoder_name, released_name
from stbench.methods.triplex.settings import TriplexSettings
from stbench.proofs.parity.names import load_official
from stbench.proofs.parity.reference import Reference

_VIEWS = {"target": "target", "neighbor": "neighbour", "global": "slide"}  # their names of the views, and ours
_ROUNDING = 20


@torch.no_grad()
def neighbor_encoder(reference: Reference) -> dict[str, Tensor]:
    """Tokens, the states on the way, and the bias of each layer."""
    rows, columns = reference.setting("resolution")
    encoder = NeighbourEncoder(**_sizes(reference), rows=rows, columns=columns)
    _load(encoder, "neighbor_encoder", reference)
    x, mask = reference.input("neighbor_emb"), reference.input("mask").bool()
    tokens = encoder(x, mask)
    found = {"tokens": tokens, "pooled_mean": tokens.mean(dim=1)}
    for k, block in enumerate(encoder.blocks):
        attention = block.attention
        assert isinstance(block, Block)
        assert isinstance(attention, WindowAttention)
        found |= {f"after_attn{k}": block.attended(x, None, mask), f"bias_full_layer{k}": attention.bias()}
        x = block(x, None, mask)
        found |= {f"block{k}": x, "bias_index": attention.index}
    return found


@torch.no_grad()
def global_encoder(reference: Reference) -> dict[str, Tensor]:
    """Tokens, the states on the way, and the grid of the positions."""
    if (method := reference.setting("pos_method")) != "APEG" or reference.setting("rounding_factor") != _ROUNDING:
        raise DataError(
            f"reference {reference.path}: expected pos_method APEG with rounding_factor {_ROUNDING}, found {method!r} "
            f"with {reference.setting('rounding_factor')}"
        )
    encoder = GlobalEncoder(**_sizes(reference), kernel=reference.setting("kernel_size"))
    _load(encoder, "global_encoder", reference)
    x, cells = reference.input("global_emb"), _cells(reference.input("position"))
    first, apeg, *rest = encoder.states(x[0], cells)
    found = {"layer1": first, "apeg": apeg, "layer2": rest[-1], "tokens": encoder(x[0], cells)}
    grid = {"grid_size": cells.amax(dim=0) + 1, "grid_xy": cells}
    return {name: value[None] for name, value in found.items()} | grid


@torch.no_grad()
def fusion_encoder(reference: Reference) -> dict[str, Tensor]:
    """The fused token and the two branches before it."""
    encoder = FusionEncoder(**_sizes(reference))
    _load(encoder, "fusion_encoder", reference)
    slide, mask = reference.input("global_token"), reference.input("mask").bool()
    target, around = reference.input("target_token"), reference.input("neighbor_token")
    return {
        "target_branch": encoder.branch(slide, target),
        "neighbor_branch": encoder.branch(slide, around, mask),
        "fused": encoder(slide, target, around, mask),
    }


def full_model(reference: Reference) -> dict[str, Tensor]:
    """Tokens, heads, loss terms and gradients of a batch over several slides, and a whole slide predicted."""
    network = _network(reference)
    cells = {prefix: _cells(reference.input(f"{prefix}position")) for prefix in reference.input_prefixes("position")}
    found = {"grid_size": next(iter(cells.values())).amax(dim=0) + 1}
    for prefix in reference.input_prefixes("img"):
        if prefix + "label" in _inputs(reference):
            found |= {prefix + name: value for name, value in _training(network, reference, prefix, cells).items()}
        else:
            with torch.no_grad():
                heads = network.heads(_tokens(network, reference, prefix, cells)).clamped()
            found[f"{prefix}logits"] = heads.fusion
    return found


def _training(
    network: TriplexNetwork, reference: Reference, prefix: str, cells: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    network.zero_grad()
    tokens = _tokens(network, reference, prefix, cells)
    raw = network.heads(tokens)
    heads = raw.clamped()
    terms = loss_terms(heads, reference.input(f"{prefix}label"), reference.setting("alpha"))
    terms["total"].backward()  # type: ignore[no-untyped-call]
    found = {
        "token_target": tokens.target,
        "token_neighbor": tokens.neighbours,
        "token_global": tokens.slide,
        "token_fusion": tokens.fusion,
        "loss": terms["total"],
        "loss_sup_fusion": terms["label_fusion"],
        "head_fusion": heads.fusion,
        "head_fusion_preclamp": raw.fusion,
    }
    for theirs, ours in _VIEWS.items():
        found |= {
            f"loss_sup_{theirs}": terms[f"label_{ours}"],
            f"loss_distill_{theirs}": terms[f"distill_{ours}"],
            f"head_{theirs}": getattr(heads, ours),
            f"head_{theirs}_preclamp": getattr(raw, ours),
        }
    gradients = {
        f"grad/{released_name(name)}": parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    return {name: value.reshape(1) if value.ndim == 0 else value for name, value in found.items()} | gradients


def _tokens(network: TriplexNetwork, reference: Reference, prefix: str, cells: Mapping[str, Tensor]) -> Tokens:
    """Tokens of the spots of a batch, whose slides and rows are stored, or of one whole slide."""
    images, mask = reference.input(f"{prefix}img"), reference.input(f"{prefix}mask").bool()
    if f"{prefix}pid" in _inputs(reference):
        slides, rows = reference.input(f"{prefix}pid"), reference.input(f"{prefix}sid")
    else:
        rows = torch.arange(len(images))
        slides = reference.input(f"{prefix}slide").expand(len(images))
    encoded = {
        slide: network.slide_tokens(reference.input(f"slide{slide}/global_emb"), cells[f"slide{slide}/"])
        for slide in set(slides.tolist())
    }
    own = torch.stack([encoded[slide][row] for slide, row in zip(slides.tolist(), rows.tolist(), strict=True)])
    target = images.flatten(2).transpose(1, 2)
    return network.tokens(target, reference.input(f"{prefix}neighbor_emb"), mask, own)


def _network(reference: Reference) -> TriplexNetwork:
    tiles = reference.setting("res_neighbor")
    if tiles != [SIDE, SIDE]:
        raise DataError(
            f"reference {reference.path}: expected res_neighbor {[SIDE, SIDE]} in its config, found {tiles}; the port "
            f"has no other neighbourhood: compute the vectors with {SIDE} x {SIDE} tiles"
        )
    parts = {"fusion": 1, "global": 2, "neighbour": 3}
    sizes = {
        f"{part}_{ours}": reference.setting(f"{theirs}{number}")
        for part, number in parts.items()
        for ours, theirs in {"depth": "depth", "heads": "num_heads", "mlp": "mlp_ratio", "dropout": "dropout"}.items()
    }
    settings = TriplexSettings(
        **sizes,
        input="features",
        neighbours="grid",
        emb_dim=reference.setting("emb_dim"),
        kernel=reference.setting("kernel_size"),
        position_residual=False,
        alpha=reference.setting("alpha"),
        clamp=True,
    )
    network = TriplexNetwork(
        settings,
        n_genes=reference.setting("num_genes"),
        n_target=reference.setting("target_feature_dim"),
        n_context=settings.emb_dim,
    )
    load_official(network, {name: released_name(name) for name in network.state_dict()}, (), reference)
    return network.eval()


def _sizes(reference: Reference) -> dict[str, Any]:
    names = {"dim": "emb_dim", "depth": "depth", "heads": "heads", "hidden": "mlp_dim", "dropout": "dropout"}
    return {ours: reference.setting(theirs) for ours, theirs in names.items()}


def _load(encoder: nn.Module, part: str, reference: Reference) -> None:
    load_official(encoder, {name: encoder_name(part, name) for name in encoder.state_dict()}, (), reference)
    encoder.eval()


def _cells(positions: Tensor) -> Tensor:
    return torch.from_numpy(pixel_cells(positions.numpy()))


def _inputs(reference: Reference) -> set[str]:
    return {key.removeprefix("input/") for key in reference.tensors if key.startswith("input/")}


COMPONENTS: dict[str, Callable[[Reference], Mapping[str, Tensor]]] = {
    "neighbor_encoder": neighbor_encoder,
    "global_encoder": global_encoder,
    "fusion_encoder": fusion_encoder,
    "full_model": full_model,
}
