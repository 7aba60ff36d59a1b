"""Stem's network, loss and samplers, built from a reference file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stbench.methods.nn.discrete import Array, Schedule, linear_schedule, respaced
from stbench.methods.stem.diffusion import Diffusion, Network, trajectory
from stbench.methods.stem.network import StemNetwork
from stbench.methods.stem.released import released_names, take_released
from stbench.methods.stem.settings import StemSettings
from stbench.proofs.parity.reference import Reference


def load_network(reference: Reference) -> StemNetwork:
    """Stem's network with the parameters of a reference file.

    Raises:
        DataError: config and parameters do not fit each other.
    """
    settings = StemSettings(
        hidden_dim=reference.setting("hidden_size"),
        dit_layers=reference.setting("depth"),
        dit_heads=reference.setting("num_heads"),
        mlp_ratio=reference.setting("mlp_ratio"),
    )
    network = StemNetwork(settings, reference.setting("input_size"), reference.setting("label_size"))
    take_released(network, reference.params, f"reference {reference.path}")
    return network.eval()


def model(reference: Reference) -> dict[str, Tensor]:
    """Outputs and what lies on the way to them, loss terms, gradients, statistics of the reverse step."""
    network, process = load_network(reference), Diffusion(linear_schedule())
    y, t = reference.input("y"), reference.input("t")
    x, clean, noise = (_flat(reference.input(name)) for name in ("x", "x0", "noise"))
    losses = process.losses(lambda noisy, k: network(noisy, k, y), clean, t, noise)
    losses.total.mean().backward()  # type: ignore[no-untyped-call]
    names = released_names(network)
    found = {f"loss/grad/{names[ours]}": parameter.grad for ours, parameter in network.named_parameters()}
    with torch.no_grad():
        noisy = process.noised(clean, t, noise)
        reverse = process.reverse(network(noisy, t, y), noisy, t)
        tau, condition = network.time(t), network.condition(y)
        named = {
            "model_out": network(x, t, y),
            "gene_joint_embed": network.genes.tokens(x),
            "time_embed": tau,
            "label_embed": condition,
            "loss/mse": losses.mse,
            "loss/vb": losses.vb,
            "loss/loss": losses.total,
            "loss/loss_mean": losses.total.mean(),
            "loss/x_t": noisy.unsqueeze(1),
            "p_mean_variance/mean": reverse.mean.unsqueeze(1),
            "p_mean_variance/log_variance": reverse.log_variance.unsqueeze(1),
            "p_mean_variance/variance": reverse.log_variance.exp().unsqueeze(1),
            "p_mean_variance/pred_xstart": reverse.clean.unsqueeze(1),
        }
        blocks = enumerate(network.genes.states(x, tau + condition))
        named |= {f"block_{k}": state for k, state in blocks}
    return named | {name: gradient for name, gradient in found.items() if gradient is not None}


@torch.no_grad()
def diffusion(reference: Reference) -> dict[str, Tensor]:
    """The schedule whole and respaced, and trajectories of both samplers from the stored noise."""
    whole = linear_schedule()
    found = {f"schedule/{name}": torch.from_numpy(table) for name, table in _tables(whole).items()}
    for spacing in reference.metadata["timestep_specs"]:
        kept = respaced(whole, spacing)
        found[f"timesteps/{spacing}"] = torch.from_numpy(kept.steps)
        found[f"respaced_betas/{spacing}"] = torch.from_numpy(kept.betas)
        found[f"respaced_posterior_log_variance_clipped/{spacing}"] = torch.from_numpy(kept.posterior_log_variance)
    network, y = load_network(reference), reference.input("y")
    run = partial(_run, reference, lambda x, t: network(x, t, y))
    found |= run("ddpm", reference.metadata["ddpm_respacing"], "noise_ddpm", sampler="ddpm", eta=0.0)
    for rules in reference.metadata["ddim_runs"]:
        name = f"ddim_eta{rules['eta']}"
        found |= run(name, rules["respacing"], f"noise_{name}", sampler="ddim", eta=rules["eta"])
    return found


def _tables(schedule: Schedule) -> dict[str, Array]:
    a = schedule.alpha_bar
    return {
        "betas": schedule.betas,
        "alphas_cumprod": a,
        "alphas_cumprod_prev": schedule.alpha_bar_before,
        "alphas_cumprod_next": np.append(a[1:], 0.0),
        "sqrt_alphas_cumprod": np.sqrt(a),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - a),
        "log_one_minus_alphas_cumprod": np.log(1 - a),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / a),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / a - 1),
        "posterior_variance": schedule.posterior_variance,
        "posterior_log_variance_clipped": schedule.posterior_log_variance,
        "posterior_mean_coef1": schedule.clean_weight,
        "posterior_mean_coef2": schedule.noisy_weight,
    }


def _run(
    reference: Reference, network: Network, name: str, spacing: str, noise: str, *, sampler: str, eta: float
) -> dict[str, Tensor]:
    process = Diffusion(respaced(linear_schedule(), spacing))
    given: Iterator[Tensor] = iter(()) if sampler == "ddim" and eta == 0 else iter(reference.input(noise))
    steps = trajectory(
        process, network, _flat(reference.input("z")), lambda: _flat(next(given)), sampler=sampler, eta=eta
    )
    states, clean = zip(*steps, strict=True)
    return {
        f"{name}/samples": torch.stack(states).unsqueeze(2),
        f"{name}/pred_xstart": torch.stack(clean).unsqueeze(2),
    }


def _flat(x: Tensor) -> Tensor:
    """(S, G) of the original's (S, 1, G)."""
    return x.squeeze(1)


COMPONENTS: dict[str, Callable[[Reference], Mapping[str, Tensor]]] = {"model": model, "diffusion": diffusion}
