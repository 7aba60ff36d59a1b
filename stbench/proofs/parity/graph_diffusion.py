"""Losses, sampler and training of joint and node-only diffusion under the released rules."""

from __future__ import annotations

import torch
from torch import Tensor

from stbench.errors import DataError
from stbench.methods.graph_diffusion import JointDiffusion, NodeDiffusion
from stbench.methods.graph_diffusion.losses import joint_errors, joint_terms, joint_total, pair_mean
from stbench.methods.graph_diffusion.settings import JointSettings
from stbench.methods.graph_diffusion.state import averaged, pack, unpack
from stbench.methods.nn.correlation import spot_correlation
from stbench.methods.nn.precondition import Network, Raw
from stbench.methods.nn.sde import T_MIN, training_time
from stbench.methods.nn.windows import WindowBatch
from stbench.proofs.parity.networks import GraphPort, graph_settings, load_graph
from stbench.proofs.parity.reference import Reference
from stbench.proofs.parity.steps import heun_end, heun_ends, many_steps, one_step, reference_sde

_JOINT, _NODE_ONLY = "graph_diffusion_learned", "graph_diffusion_fixed"  # modes of the released code


def loss(reference: Reference) -> dict[str, Tensor]:
    """Loss terms and the gradient of every parameter; 0 for those not used."""
    port = load_graph(reference)
    return one_step(port, reference, _terms(port, reference))


def training(reference: Reference) -> dict[str, Tensor]:
    """Losses and gradient norms of the micro-steps, parameters and averaged parameters after them."""
    port = load_graph(reference)
    return many_steps(port, reference, lambda prefix: _terms(port, reference, prefix))


@torch.no_grad()
def sampler(reference: Reference) -> dict[str, Tensor]:
    """End points of nodes and edges from the stored unit noise, for each number of intervals."""
    port, p = load_graph(reference), Raw(reference_sde(reference))
    network, z = _network(port, reference), reference.input("noise_x")
    if _is_joint(reference):
        start = pack(z, averaged(reference.input("noise_e").squeeze(-1)))

        def joint_end(passes: int) -> dict[str, Tensor]:
            x, e = unpack(heun_end(network, start, p, passes))
            return {"x": x, "e": e.unsqueeze(-1)}

        return heun_ends(reference, joint_end)
    return heun_ends(reference, lambda passes: _node_end(port, reference, z, passes))


def edge_validation_loss(reference: Reference) -> dict[str, Tensor]:
    """Mean squared gap of sampled and true edges; without sampled edges there is none."""
    gap = (reference.input("pred_e") - reference.input("e_gt")).squeeze(-1)
    return {_JOINT: pair_mean(gap.square(), reference.input("mask")), _NODE_ONLY: torch.tensor(0.0)}


def _node_end(port: GraphPort, reference: Reference, z: Tensor, passes: int) -> dict[str, Tensor]:
    """The original also returns what its unused edge head says in the last pass."""
    sde, network, seen = reference_sde(reference), _network(port, reference), []

    def watched(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return network(x, t)

    x = heun_end(watched, z, Raw(sde), passes)
    batch = _batch(reference)
    _, score = port.module(seen[-1][0], None, seen[-1][1], batch.features, batch.edges, batch.mask)
    return {"x": x, "e": sde.sigma(torch.tensor(T_MIN)).square() * score.unsqueeze(-1)}


def _is_joint(reference: Reference) -> bool:
    mode = reference.setting("mode")
    if mode not in (_JOINT, _NODE_ONLY):
        raise DataError(f"reference {reference.path}: expected mode {_JOINT} or {_NODE_ONLY}, found {mode!r}")
    return bool(mode == _JOINT)


def _batch(reference: Reference, prefix: str = "") -> WindowBatch:
    features, edges, mask = (reference.input(prefix + name) for name in ("cond_x", "cond_e", "mask"))
    return WindowBatch(features, edges, mask, None, (), "")


def _network(port: GraphPort, reference: Reference, prefix: str = "") -> Network:
    settings = graph_settings(reference)
    joint = JointDiffusion(JointSettings.model_validate(settings.model_dump()))
    method = joint if _is_joint(reference) else NodeDiffusion(settings)
    return method.bind(port.module, _batch(reference, prefix))


def _terms(port: GraphPort, reference: Reference, prefix: str = "") -> dict[str, Tensor]:
    network, p = _network(port, reference, prefix), Raw(reference_sde(reference))
    x, mask, z = (reference.input(prefix + name) for name in ("x_gt", "mask", "noise_x"))
    sigma = p.sde.sigma(training_time(reference.input(f"{prefix}u")))
    if not _is_joint(reference):
        fit, none = p.loss(network, x, sigma, z)[mask].mean(), torch.tensor(0.0)
        return {"loss": fit, "loss_x": fit, "loss_e": none, "loss_cons": none}
    clean = pack(x, reference.input(f"{prefix}e_gt").squeeze(-1))
    noise = pack(z, reference.input(f"{prefix}noise_e").squeeze(-1))

    def implied(found: Tensor) -> Tensor:
        return spot_correlation(found, mask, by_sum=True).detach()

    terms = joint_terms(joint_errors(network, p, clean, sigma, noise, implied), mask)
    weights = (reference.setting("train_config", name) for name in ("lambda_edge", "lambda_consistency"))
    named = {"loss_x": terms["score"], "loss_e": terms["edge"], "loss_cons": terms["consistency"]}
    return {"loss": joint_total(terms, *weights), **named}
