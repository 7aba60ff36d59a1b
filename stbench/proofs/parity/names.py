"""From the parameter names of the released FLAG code (github.com/darkflash03/FLAG) to ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.methods.nn.dit import RELEASED_NAMES, released_name
from stbench.proofs.parity.reference import Reference

_BACKBONE = "graph_backbone."
_TOKENS = (*RELEASED_NAMES.items(), ("projector", "projectors.0"))
_GRAPH = (
    ("nodes_in", "x_in"),
    ("nodes_out", "x_out"),
    ("edges_in", "e_in"),
    ("edges_out", "e_out"),
    ("time_in", "t_in"),
    ("blocks.*.context.nodes", "blocks.*.pool_cx"),
    ("blocks.*.context.edges", "blocks.*.pool_ce"),
    ("blocks.*.context.fuse", "blocks.*.z_fuse"),
    ("blocks.*.query", "blocks.*.to_q"),
    ("blocks.*.key", "blocks.*.to_k"),
    ("blocks.*.value", "blocks.*.to_v"),
    ("blocks.*.out", "blocks.*.to_x_out.0"),
    ("blocks.*.edge.gate", "blocks.*.ce.ce_mul"),
    ("blocks.*.edge.bias", "blocks.*.ce.ce_add"),
    ("blocks.*.edge.out_scale", "blocks.*.ce.ce_out_mul"),
    ("blocks.*.edge.out_shift", "blocks.*.ce.ce_out_add"),
    ("blocks.*.node.gate_query", "blocks.*.cx.cx_q_mul"),
    ("blocks.*.node.gate_key", "blocks.*.cx.cx_k_mul"),
    ("blocks.*.node.bias_query", "blocks.*.cx.cx_q_add"),
    ("blocks.*.node.bias_key", "blocks.*.cx.cx_k_add"),
    ("blocks.*.node.out_scale", "blocks.*.cx.cx_out_mul"),
    ("blocks.*.node.out_shift", "blocks.*.cx.cx_out_add"),
    ("blocks.*.stream.gate", "blocks.*.to_e_mul"),
    ("blocks.*.stream.bias", "blocks.*.to_e_add"),
    ("blocks.*.stream.out", "blocks.*.to_e_out.0"),
    ("blocks.*.stream.norm.norm", "blocks.*.ga_e_norm"),
    ("blocks.*.stream.norm.scale_shift", "blocks.*.ga_e_norm.to_gb.1"),
    ("blocks.*.stream.feed_norm.norm", "blocks.*.ff_e_norm"),
    ("blocks.*.stream.feed_norm.scale_shift", "blocks.*.ff_e_norm.to_gb.1"),
    ("blocks.*.stream.feed.norm", "blocks.*.ff_e.0"),
    ("blocks.*.stream.feed.value_gate", "blocks.*.ff_e.1.proj"),
    ("blocks.*.stream.feed.out", "blocks.*.ff_e.3"),
    ("blocks.*.norm.norm", "blocks.*.ga_x_norm"),
    ("blocks.*.norm.scale_shift", "blocks.*.ga_x_norm.to_gb.1"),
    ("blocks.*.feed_norm.norm", "blocks.*.ff_x_norm"),
    ("blocks.*.feed_norm.scale_shift", "blocks.*.ff_x_norm.to_gb.1"),
    ("blocks.*.feed.norm", "blocks.*.ff_x.0"),
    ("blocks.*.feed.value_gate", "blocks.*.ff_x.1.proj"),
    ("blocks.*.feed.out", "blocks.*.ff_x.3"),
    *((f"blocks.*.{scalar}", f"blocks.*.{scalar}") for scalar in ("alpha", "beta", "gamma", "delta")),
)
_FLAG = {**dict(_TOKENS), **{f"graph.{ours}": _BACKBONE + theirs for ours, theirs in _GRAPH}}


def transformer_name(ours: str) -> str:
    """Official name of a parameter of the graph transformer on its own."""
    return released_name(ours, dict(_GRAPH))


def network_name(ours: str, *, graph: bool) -> str:
    """Official name of a parameter of FLAG's network, with or without its graph encoder."""
    return released_name(ours, {**_FLAG, "condition": "node2gene" if graph else "label_embed"})


def unused_in_transformer(layers: int, *, edges: bool, adaptive: bool) -> set[str]:
    """Parameters of the original that take no part in any output and that our transformer leaves out."""
    if adaptive:
        return set()
    pools = ("pool_cx", "pool_ce") if edges else ("pool_cx",)
    return _linear("t_in.0", "t_in.2") | {f"blocks.{k}.{pool}.weight" for k in range(layers) for pool in pools}


def unused_in_network(layers: int, *, edges: bool, adaptive: bool) -> set[str]:
    """The same for FLAG's network: its graph encoder, and an image map that is built and never called."""
    return {_BACKBONE + name for name in unused_in_transformer(layers, edges=edges, adaptive=adaptive)} | _linear(
        "label_embed.0", "label_embed.2"
    )


def _linear(*modules: str) -> set[str]:
    return {f"{module}.{part}" for module in modules for part in ("weight", "bias")}


def load_official(module: nn.Module, official: Mapping[str, str], unused: Iterable[str], reference: Reference) -> None:
    """Load a reference's parameters into a port.

    Args:
        module: the port.
        official: official name by our name, for every parameter of the port.
        unused: official names that the port leaves out.
        reference: the file.

    Raises:
        DataError: a parameter is missing, unexpected or of another shape; names it.
    """
    params, expected = reference.params, {*official.values(), *unused}
    for problem, names in (("no", expected - params.keys()), ("an unexpected", params.keys() - expected)):
        if names:
            raise DataError(
                f"reference {reference.path}: expected the parameters of its config, found {problem} "
                f"'param/{min(names)}' ({len(names)} such in all)"
            )
    own = module.state_dict()
    for ours, theirs in official.items():
        if own[ours].shape != params[theirs].shape:
            raise DataError(
                f"reference {reference.path}: expected 'param/{theirs}' of shape {tuple(own[ours].shape)} by its "
                f"config, found {tuple(params[theirs].shape)}"
            )
    with torch.no_grad():
        module.load_state_dict({ours: _copy(params[theirs]) for ours, theirs in official.items()})


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone()
