"""STFlow's network, loss, graph, prior and sampling loop under the released rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from stbench.methods.stflow.flow import refine
from stbench.methods.stflow.geometry import GraphRule, SpotGraph, build_graph, join
from stbench.methods.stflow.network import StFlowNetwork
from stbench.methods.stflow.prior import fixed_prior
from stbench.methods.stflow.released import released_name, take_released
from stbench.methods.stflow.settings import StFlowSettings
from stbench.proofs.parity.reference import Reference
from stbench.training.scores import mean_gene_correlation

_COUNTS = 21  # of the stored probabilities
_STEPS = "n_sample_steps"  # times on the released grid, the last of which is never asked


def denoiser(reference: Reference) -> dict[str, Tensor]:
    """Prediction, loss and gradients of a batch of slides, what lies on the way, and the sampling loop on slide 0."""
    network = _network(reference)
    graphs = [build_graph(xy.numpy(), _rule(reference)) for xy in reference.input("coords")]
    found = _forward(network, join(graphs), reference)
    if _STEPS in reference.metadata:
        found |= _sampling(network, graphs[0], reference)
    prior = StFlowSettings()
    constants = (prior.prior_total_count, prior.prior_logits, prior.prior_zi_logit)
    found["zinb_pmf"] = torch.from_numpy(fixed_prior(1, *constants).probability(np.arange(_COUNTS))[:, 0])
    return found


def _settings(reference: Reference) -> StFlowSettings:
    return StFlowSettings(
        hidden_dim=reference.setting("hidden_dim"),
        edge_dim=reference.setting("pairwise_hidden_dim"),
        layers=reference.setting("n_layers"),
        heads=reference.setting("n_heads"),
        neighbours=reference.setting("n_neighbors"),
        activation=reference.setting("activation"),
        edge_distance=True,
        layer_expression="previous",
    )


def _rule(reference: Reference) -> GraphRule:
    return GraphRule(reference.setting("n_neighbors"), ties="index", frames="axes")


def _network(reference: Reference) -> StFlowNetwork:
    sizes = {"n_genes": reference.setting("n_genes"), "n_features": reference.setting("feature_dim")}
    network = StFlowNetwork(_settings(reference), **sizes)
    take_released(network, reference.params, f"reference {reference.path}")
    return network.eval()


def _forward(network: StFlowNetwork, graph: SpotGraph, reference: Reference) -> dict[str, Tensor]:
    labels, t = reference.input("labels"), reference.input("t")
    features, x = reference.input("img_features").flatten(0, 1), reference.input("noisy_exp").flatten(0, 1)
    states = list(network.states(x, t, features, graph))
    prediction = torch.stack([state.expression for state in states]).mean(dim=0).view(labels.shape)
    loss = (prediction - labels).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    found = {
        "neighbor_indices": graph.neighbours,
        "time_embed": network.time(t),
        "token_input": network.tokens(t, features, graph).view(*labels.shape[:2], -1),
        "block_last_tokens": states[-1].tokens,
        "prediction": prediction,
        "loss": loss,
    }
    for number, (state, edges) in enumerate(zip(states, network.edge_states(graph), strict=True)):
        named = {"gene_exp": state.expression, "attn_out": state.attended, "edge_features": edges}
        found |= {f"block_{number}_{name}": value for name, value in named.items()}
    return found | {
        f"grad/{released_name(name)}": parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


@torch.no_grad()
def _sampling(network: StFlowNetwork, graph: SpotGraph, reference: Reference) -> dict[str, Tensor]:
    features, labels = reference.input("img_features")[0], reference.input("labels")[0]

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        predicted: Tensor = network(x, t, features, graph)
        return predicted

    steps = list(refine(denoise, reference.input("prior")[0], int(reference.metadata[_STEPS]) - 1))
    final = steps[-1].clean
    score = mean_gene_correlation(labels.numpy(), final.numpy())
    return {
        "sample_t": torch.tensor([step.t for step in steps]),
        "sample_states": torch.stack([step.state for step in steps]),
        "sample_predictions": torch.stack([step.clean for step in steps]),
        "sample_final": final,
        "sample_pearson_mean": torch.tensor(score, dtype=torch.float64),
    }


COMPONENTS: dict[str, Callable[[Reference], Mapping[str, Tensor]]] = {"denoiser": denoiser}
