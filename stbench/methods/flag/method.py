"""FLAG as a method of the harness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs
from stbench.methods.flag.losses import gene_alignment, spot_alignment
from stbench.methods.flag.network import FlagNetwork
from stbench.methods.flag.settings import FlagSettings
from stbench.methods.nn.micro_batches import MicroBatches
from stbench.methods.nn.precondition import Network
from stbench.methods.nn.scaling import Scale
from stbench.methods.nn.window_method import WindowDiffusion, WindowObjective
from stbench.methods.nn.windows import WindowBatch
from stbench.priors import GenePrior, PerSpotTable, build_prior, build_spot_prior
from stbench.training.memory import values_at_once


class Flag(WindowDiffusion):
    """FLAG (arXiv:2605.18055).

    A graph transformer over the spots of a window gives a context per spot; a diffusion transformer over genes denoises
    the spot's expression under it (Algorithm 1); hidden tokens are aligned with known vectors of the genes
    (Eq. 8) or of the spots (Eq. 57).
    """

    Settings = FlagSettings
    settings: FlagSettings

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes``, ``n_features`` and ``prior_dim``."""
        return FlagNetwork(self.settings, **sizes)

    def bind(self, module: nn.Module, batch: WindowBatch) -> Network:
        """F(x, t) on (B, N, G) and (B,), the windows' features and edges given."""

        def network(x: Tensor, t: Tensor) -> Tensor:
            return module(x, t, batch.features, batch.edges, batch.mask, rows=batch.rows).value.float()

        return network

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """(draws, n_spots, G) samples, or (1, n_spots, G) where the method regresses."""
        if not self.settings.diffusion:
            return self._regress(inputs)[None]
        return super().predict(inputs, draws, seed)

    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        """(n_spots, G); None for ``raw`` and ``epsilon``, and where the method regresses."""
        return super().predict_mean(inputs, seed) if self.settings.diffusion else None

    @property
    def scale(self) -> Scale:
        """A regression always learns z-scored genes."""
        if self.settings.diffusion:
            return super().scale
        return Scale(self.gene_mean_, self.gene_std_, standardized=True)

    @property
    def _spots_per_batch(self) -> int:
        held = values_at_once(next(self.module_.parameters()).device)  # of the gene tokens
        return max(1, held // (self.sizes_["n_genes"] * self.settings.hidden_dim))

    def _passes(self, draws: int) -> int:
        return super()._passes(draws) if self.settings.diffusion else 1

    def _objective(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> WindowObjective:
        return FlagObjective(self, train, validation, context)

    def _judged(self, inputs: SlideInputs, seed: int) -> FloatArray:
        return super()._judged(inputs, seed) if self.settings.diffusion else self._regress(inputs)

    def _regress(self, inputs: SlideInputs) -> FloatArray:
        zeros = torch.zeros(1, inputs.n_spots, self.sizes_["n_genes"])

        def solve(batch: WindowBatch, z: Tensor, positions: Sequence[int]) -> Tensor:
            return self.bind(self.module_, batch)(z, z.new_zeros(len(z)))

        return self._finish(self._on_windows(inputs, zeros, solve))[0]


class FlagObjective(WindowObjective):
    """Algorithm 1: score loss on noisy windows plus weighted alignment with a prior, if there is one."""

    method: Flag

    def __init__(
        self, method: Flag, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> None:
        super().__init__(method, train, validation, context)
        prior = _prior(method.settings, train, context)
        self.prior = prior if method.settings.align_weight else None
        self.sizes = {"prior_dim": self.prior.dim if self.prior else 0}

    def terms(self, module: nn.Module, micro: MicroBatches, generator: torch.Generator) -> list[dict[str, Tensor]]:
        """``score``, ``align`` if there is a prior, and their weighted sum (Algorithm 1)."""
        batch, projected = micro.joint, list[Tensor | None]()

        def network(x: Tensor, t: Tensor) -> Tensor:
            given = batch.features, batch.edges, batch.mask
            out = module(x, t, *given, rows=batch.rows, project=self.prior is not None)
            projected.append(out.projected)
            return out.value.float()

        fits = micro.spot_means(self._fit_loss(network, micro, generator))
        if self.prior is None or projected[0] is None:
            return [{"total": fit, "score": fit} for fit in fits]
        found, weight = [], self.method.settings.align_weight
        for fit, tokens, own in zip(fits, micro.of_spots(projected[0]), micro.each, strict=True):
            align = self._alignment(tokens, *self._embeddings(self.prior, own))
            found.append({"total": fit + weight * align, "score": fit, "align": align})
        return found

    def _embeddings(self, prior: GenePrior | PerSpotTable, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Vectors of the batch's real spots in the order of its mask, and which are there, for the host."""
        vectors, mask = prior.of(batch.slide_id, np.concatenate(batch.spots))
        return self._there(torch.from_numpy(vectors)), torch.from_numpy(mask)

    def _alignment(self, projected: Tensor, embeddings: Tensor, mask: Tensor) -> Tensor:
        align = self.method.settings.align
        if align == "gene":
            return gene_alignment(projected, embeddings, mask)
        return spot_alignment(projected, embeddings, mask, squared=align == "spot-l2")

    def _fit_loss(self, network: Network, micro: MicroBatches, generator: torch.Generator) -> Tensor:
        clean = self.inward(micro.joint)
        if not self.method.settings.diffusion:
            return (network(torch.zeros_like(clean), clean.new_zeros(len(clean))) - clean).square()
        return self.method._p.loss(network, clean, *self.noise(micro, generator))


def _prior(settings: FlagSettings, train: Sequence[LabelledSlide], context: Context) -> GenePrior | PerSpotTable | None:
    if settings.align != "gene":
        return build_spot_prior(settings.prior, {slide.inputs.slide_id: slide.inputs.n_spots for slide in train})
    expression, ids = [slide.expression for slide in train], [slide.inputs.slide_id for slide in train]
    return build_prior(settings.prior, expression, context.genes, ids)
