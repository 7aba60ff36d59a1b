"""FLAG's losses, sampler and training loop under the released rules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.methods.flag.losses import gene_alignment, spot_alignment
from stbench.methods.flag.network import FlagNetwork
from stbench.methods.nn.precondition import Network, Raw
from stbench.methods.nn.samplers import heun_times, sample
from stbench.methods.nn.sde import T_MIN, VESDE, training_time
from stbench.proofs.parity.networks import Port, load_network
from stbench.proofs.parity.reference import Reference
from stbench.training.loop import Trainer
from stbench.training.settings import TrainingSettings
from stbench.training.stepper import Stepper

_ALIGNMENTS = {  # by mode of the released code: its alignment term
    "graph_fixed": None,
    "repa_graph_fixed": "loss_gene_embed",
    "repa_cell_graph_fixed": "loss_cell_embed",
}


def reference_sde(reference: Reference) -> VESDE:
    """The noise schedule of a reference file.

    Raises:
        DataError: not a variance-exploding one whose times end where ours do, or limits that our settings refuse.
    """
    rules = reference.setting("sde_config")
    low, high = (reference.setting("sde_config", limit) for limit in ("sigma_min", "sigma_max"))
    ours = {"name": "vesde", "t_min": T_MIN}
    if {name: rules.get(name, value) for name, value in ours.items()} != ours or not 0 < low < high:
        found = ", ".join(f"{name} {value}" for name, value in rules.items())
        raise DataError(
            f"reference {reference.path}: expected vesde with t_min {T_MIN} and 0 < sigma_min < sigma_max in "
            f"sde_config, found {found}; the port has no other: compute the vectors under these"
        )
    return VESDE(low, high)


def loss(reference: Reference) -> dict[str, Tensor]:
    """Loss terms, with and without valid genes, and the gradient of every parameter; 0 for those not used."""
    port, sde = load_network(reference), reference_sde(reference)
    found = one_step(port, reference, _losses(port.module, reference, sde))
    unmasked = _losses(port.module, reference, sde, no_gene=True)
    return found | {f"empty_mask/{name}": value for name, value in unmasked.items()}


def one_step(port: Port, reference: Reference, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Loss terms of a port, the gradient of every parameter, time and noise level of the file."""
    terms["loss"].backward()  # type: ignore[no-untyped-call]
    gradients = {
        f"grad/{port.official[name]}": torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in port.module.named_parameters()
    }
    t = training_time(reference.input("u"))
    return {**terms, **gradients, "t": t, "sigma": reference_sde(reference).sigma(t)}


def _losses(
    network: FlagNetwork, reference: Reference, sde: VESDE, prefix: str = "", *, no_gene: bool = False
) -> dict[str, Tensor]:
    def given(name: str) -> Tensor:
        return reference.input(prefix + name)

    projected: list[Tensor | None] = []

    def score(x: Tensor, t: Tensor) -> Tensor:
        out = network(x, t, given("cond_x"), given("cond_e"), given("mask"), project=True)
        projected.append(out.projected)
        return out.value

    sigma = sde.sigma(training_time(given("u")))
    fit = Raw(sde).loss(score, given("x_gt"), sigma, given("noise_x"))[given("mask")].mean()
    mode = reference.setting("mode")
    if mode not in _ALIGNMENTS:
        raise DataError(f"reference {reference.path}: expected mode {', '.join(_ALIGNMENTS)}, found {mode!r}")
    term, tokens = _ALIGNMENTS[mode], projected[0]
    if term is None or tokens is None:
        return {"loss": fit, "loss_x": fit}
    align = _alignment(term, tokens, given, no_gene=no_gene)
    return {"loss": fit + network.settings.align_weight * align, "loss_x": fit, term: align}


def _alignment(term: str, tokens: Tensor, given: Callable[[str], Tensor], *, no_gene: bool) -> Tensor:
    if term == "loss_cell_embed":
        return spot_alignment(tokens, given("llm_cell_level_embeddings").flatten(0, 1))
    mask = given("llm_gene_level_mask").flatten(0, 1)
    embeddings = given("llm_gene_level_embeddings").flatten(0, 1)
    return gene_alignment(tokens, embeddings, torch.zeros_like(mask) if no_gene else mask)


@torch.no_grad()
def sampler(reference: Reference) -> dict[str, Tensor]:
    """End points of the paper's sampler from the stored unit noise, for each number of intervals."""
    network, p = load_network(reference).module, Raw(reference_sde(reference))
    features, edges = reference.input("cond_x"), reference.input("cond_e")
    z, mask = reference.input("noise_x"), reference.input("mask")

    def score(x: Tensor, t: Tensor) -> Tensor:
        value: Tensor = network(x, t, features, edges, mask).value
        return value

    return heun_ends(reference, lambda passes: {"x": heun_end(score, z, p, passes)})


def heun_end(network: Network, z: Tensor, p: Raw, passes: int) -> Tensor:
    """End point of the released sampler from unit noise."""
    return sample(network, z, p, solver="heun", passes=passes, centre=torch.zeros_like(z[0, 0]))


def heun_ends(reference: Reference, end: Callable[[int], dict[str, Tensor]]) -> dict[str, Tensor]:
    """End points for each number of intervals in a file, by the number of passes."""
    found: dict[str, Tensor] = {}
    for intervals in reference.setting("steps"):
        named = end(2 * intervals + 1)
        named |= {"x_clipped": named["x"].clamp(min=0), "times": heun_times(intervals)}
        found |= {f"steps{intervals}/{name}": value for name, value in named.items()}
    return found


class _Recorded:
    """The stored micro-steps as an objective, so that the harness' own trainer makes optimiser and rules."""

    def __init__(self, reference: Reference, terms: Callable[[str], dict[str, Tensor]]) -> None:
        self.reference, self.terms = reference, terms

    @property
    def epoch_length(self) -> int:
        return int(self.reference.setting("micro_steps"))

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        terms = self.terms(f"micro{index}/")
        return terms | {"total": terms["loss"]}

    def score(self, module: nn.Module) -> float:
        return 0.0


def training(reference: Reference) -> dict[str, Tensor]:
    """Losses and gradient norms of the micro-steps, parameters and averaged parameters after them."""
    port, sde = load_network(reference), reference_sde(reference)
    return many_steps(port, reference, lambda prefix: _losses(port.module, reference, sde, prefix))


def many_steps(port: Port, reference: Reference, terms: Callable[[str], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Losses, gradient norms and parameters of a short training.

    Args:
        port: the network.
        reference: the file.
        terms: loss terms of the port on the inputs under a prefix.
    """
    network = port.module.train()
    objective = _Recorded(reference, terms)
    stepper = Trainer(network, objective, _official_rules(reference)).stepper
    losses, norms = [], []
    for index in range(objective.epoch_length):
        total = objective.losses(network, index, torch.Generator())["total"]
        norms.append(stepper.micro_step(total))
        losses.append(total.detach())
    named = {"losses": torch.stack(losses), "accumulated_grad_norm_before_clip": torch.stack(norms)}
    return named | _after(port, stepper, reference)


def _after(port: Port, stepper: Stepper, reference: Reference) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for group, module in (("param_after", port.module), ("ema_after", stepper.averaged)):
        found |= {f"{group}/{port.official[name]}": value for name, value in module.state_dict().items()}
        found |= {f"{group}/{name}": reference.params[name] for name in port.unused}  # nothing may move these
    return found


def _official_rules(reference: Reference) -> TrainingSettings:
    return TrainingSettings(
        lr=reference.setting("train_config", "lr"),
        weight_decay=reference.setting("train_config", "wd"),
        clip=reference.setting("train_config", "grad_clip"),
        clip_rule="micro",
        accumulate=reference.setting("train_config", "gradient_accumulate_every"),
        accumulate_rule="sum",
        ema=reference.setting("ema_decay"),
        ema_warmup=False,
    )
