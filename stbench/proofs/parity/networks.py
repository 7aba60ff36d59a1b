"""FLAG's network and that of the graph-diffusion methods, built from a reference file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module

from stbench.errors import DataError
from stbench.methods.flag.network import FlagNetwork
from stbench.methods.flag.settings import FlagSettings
from stbench.methods.graph_diffusion.network import GraphNetwork
from stbench.methods.graph_diffusion.settings import NodeSettings
from stbench.methods.nn.graph_transformer import GraphTransformer
from stbench.proofs.parity.names import (
    load_official,
    network_name,
    transformer_name,
    unused_in_network,
    unused_in_transformer,
)
from stbench.proofs.parity.reference import Reference

_SIZES = "model_config"
_ALIGN_WEIGHT = 0.5  # fixed in the released code
_WITHOUT_GRAPH = {"Dit", "DitRepa"}
_PROJECTING = {"GraphDitRepa", "DitRepa"}


@dataclass(frozen=True)
class Port:
    """A module with the original's parameters.

    Args:
        module: ours, in evaluation mode.
        official: official name by our name.
        unused: official parameters that take no part in any output.
    """

    module: Module
    official: Mapping[str, str]
    unused: frozenset[str]


@dataclass(frozen=True)
class FlagPort(Port):
    """FLAG's network with the original's parameters."""

    module: FlagNetwork


@dataclass(frozen=True)
class GraphPort(Port):
    """The network of the graph-diffusion methods with the original's parameters."""

    module: GraphNetwork


def official_settings(reference: Reference) -> FlagSettings:
    """The settings under which FLAG is what was released, at the sizes of a reference file."""
    sizes = reference.setting(_SIZES)
    graph = reference.setting("class") not in _WITHOUT_GRAPH
    encoder = {}
    if graph:
        encoder = {
            "graph_layers": reference.setting(_SIZES, "n_layers"),
            "graph_heads": reference.setting(_SIZES, "n_heads"),
            "dropout": reference.setting(_SIZES, "dropout"),
            "gene_dim": reference.setting(_SIZES, "d_gene"),
            "edge_channels": "both" if reference.setting(_SIZES, "use_cond_e_in_attn") else "none",
            "adaptive_norm": reference.setting(_SIZES, "ada_norm"),
        }
    return FlagSettings(
        **encoder,
        graph=graph,
        hidden_dim=reference.setting(_SIZES, "hidden_dim"),
        dit_layers=reference.setting(_SIZES, "dit_num_blocks"),
        dit_heads=reference.setting(_SIZES, "num_heads"),
        mlp_ratio=reference.setting(_SIZES, "mlp_ratio"),
        align_layer=sizes.get("encoder_layer", 1),
        align_weight=_ALIGN_WEIGHT,
        projector_dim=sizes.get("projector_dim", 1),
        attention="channel",
        edge_stream=True,
        parameterization="raw",
        start="zero",
    )


def load_network(reference: Reference) -> FlagPort:
    """FLAG's network with the parameters of a reference file.

    Raises:
        DataError: config and parameters do not fit each other.
    """
    settings, kind = official_settings(reference), reference.setting("class")
    if kind not in _WITHOUT_GRAPH | {"GraphDit", "GraphDitRepa"}:
        raise DataError(f"reference {reference.path}: expected class GraphDit(Repa) or Dit(Repa), found {kind!r}")
    network = FlagNetwork(
        settings,
        n_genes=reference.setting(_SIZES, "node_dim"),
        n_features=reference.setting(_SIZES, "node_cond_dim" if settings.graph else "img_dim"),
        prior_dim=reference.setting(_SIZES, "z_dim") if kind in _PROJECTING else 0,
    )
    official = {name: network_name(name, graph=settings.graph) for name in network.state_dict()}
    unused: set[str] = set()
    if settings.graph:
        unused = unused_in_network(
            settings.graph_layers, edges=settings.edge_channels != "none", adaptive=settings.adaptive_norm
        )
    load_official(network, official, unused, reference)
    return FlagPort(network.eval(), official, frozenset(unused))


@torch.no_grad()
def graph_dit(reference: Reference) -> dict[str, Tensor]:
    """Score, projected tokens and everything on the way, for each window of the file."""
    network = load_network(reference).module
    found: dict[str, Tensor] = {}
    for prefix in reference.input_prefixes("x"):
        named = _of_window(network, reference, prefix)
        found |= {prefix + name: value for name, value in named.items()}
    return found


def _of_window(network: FlagNetwork, reference: Reference, prefix: str) -> dict[str, Tensor]:
    x, mask = reference.input(f"{prefix}x"), reference.input(f"{prefix}mask")
    features, edges = reference.input(f"{prefix}cond_x"), reference.input(f"{prefix}cond_e")
    if bool(reference.input(f"{prefix}e").any()):
        raise DataError(f"reference {reference.path}: expected 'input/{prefix}e' of zeros, FLAG diffuses no edges")
    t = reference.input(f"{prefix}t", "t")
    tau = network.time(t)
    if network.graph is None:
        raise DataError(f"reference {reference.path}: expected a class with a graph in component graph_dit")
    spatial, _ = network.graph(x, None, tau, features, edges, mask)
    condition = network.spot_condition(x, t, features, edges, mask)
    _, tokens = network.genes(x[mask], condition[mask])
    out = network(x, t, features, edges, mask, project=True)
    named = {
        "time_embedding": tau,
        "spatial_embedding": spatial,
        "graph_condition": network.condition(spatial)[mask],
        "gene_tokens": network.genes.tokens(x[mask]),
        "score": out.value.flatten(0, 1),
        **{f"tokens_after_block{k}": state for k, state in enumerate(tokens)},
    }
    return named if out.projected is None else named | {"projected_tokens": out.projected}


@torch.no_grad()
def image_dit(reference: Reference) -> dict[str, Tensor]:
    """Score and projected tokens without graph: every spot is a window of its own, with its own time."""
    network = load_network(reference).module
    x, t, features = reference.input("x"), reference.input("t"), reference.input("cond_x")
    alone = torch.ones(len(x), 1, dtype=torch.bool)
    edges = x.new_zeros(len(x), 1, 1, 2)
    out = network(x.unsqueeze(1), t, features.unsqueeze(1), edges, alone, project=True)
    score = {"score": out.value.squeeze(1)}
    return score if out.projected is None else score | {"projected_tokens": out.projected}


@torch.no_grad()
def graph_model(reference: Reference) -> dict[str, Tensor]:
    """Scores of nodes and edges, and the states after each block, of the graph transformer on its own."""
    transformer = load_graph(reference).module.graph
    found: dict[str, Tensor] = {}
    for prefix in reference.input_prefixes("x"):
        named = _of_graph(transformer, reference, prefix)
        found |= {prefix + name: value for name, value in named.items()}
    return found


def _of_graph(transformer: GraphTransformer, reference: Reference, prefix: str) -> dict[str, Tensor]:
    x, e = reference.input(f"{prefix}x"), reference.input(f"{prefix}e")
    try:
        mask = reference.input(f"{prefix}mask")
    except DataError:  # the original takes none for a batch of whole windows
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
    t, c = reference.input(f"{prefix}t_emb", "t_emb"), reference.input(f"{prefix}cond_x")
    conditions = (t, c, reference.input(f"{prefix}cond_e"), mask)
    nodes, edges = transformer(x, e, *conditions)
    named = {"node_score": nodes, "edge_score": edges}
    for k, (h, g) in enumerate(transformer.states(x, e, *conditions)[1:]):
        named |= {f"block{k}/x": h, f"block{k}/e": g}
    return named


def graph_settings(reference: Reference) -> NodeSettings:
    """The settings under which the graph network is what was released, at the sizes of a reference file.

    Raises:
        DataError: an edge condition of another width than distance and similarity.
    """
    width = reference.setting(_SIZES, "edge_cond_dim")
    if width != 2:
        raise DataError(f"reference {reference.path}: expected edge_cond_dim 2, found {width}")
    return NodeSettings(
        hidden_dim=reference.setting(_SIZES, "d_model"),
        graph_layers=reference.setting(_SIZES, "n_layers"),
        graph_heads=reference.setting(_SIZES, "n_heads"),
        dropout=reference.setting(_SIZES, "dropout"),
        edge_channels="both" if reference.setting(_SIZES, "use_cond_e_in_attn") else "none",
        adaptive_norm=reference.setting(_SIZES, "ada_norm"),
        attention="channel",
        edge_stream=True,
    )


def load_graph(reference: Reference) -> GraphPort:
    """The graph network with the parameters of a reference file.

    Raises:
        DataError: config and parameters do not fit each other.
    """
    settings = graph_settings(reference)
    network = GraphNetwork(
        settings,
        n_genes=reference.setting(_SIZES, "node_dim"),
        n_features=reference.setting(_SIZES, "node_cond_dim"),
    )
    official = {name: transformer_name(name.removeprefix("graph.")) for name in network.state_dict()}
    unused = unused_in_transformer(
        settings.graph_layers, edges=settings.edge_channels != "none", adaptive=settings.adaptive_norm
    )
    load_official(network, official, unused, reference)
    return GraphPort(network.eval(), official, frozenset(unused))
