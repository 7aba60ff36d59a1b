"""FLAG as a method of the harness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs
from stbench.methods.flag.losses import gene_alignment
from stbench.methods.flag.network import FlagNetwork
from stbench.methods.flag.settings import FlagSettings
from stbench.methods.nn.diffusion import on_windows, parameterization, slide_noise, training_noise
from stbench.methods.nn.precondition import Network, Parameterization
from stbench.methods.nn.samplers import posterior_mean, sample
from stbench.methods.nn.scaling import Scale, feature_moments, gene_moments, standardized
from stbench.methods.nn.windows import TrainingWindows, WindowBatch, WindowGeometry, grid_batches
from stbench.priors.table import GenePrior, build_prior
from stbench.training.loop import Trainer, total_updates
from stbench.training.scores import mean_gene_correlation

_TOKEN_BUDGET = 2**25  # tokens x width of one sampling batch


class Flag(Method):
    """FLAG (arXiv:2605.18055).

    A graph transformer over the spots of a window gives a context per spot; a diffusion transformer over genes denoises
    the spot's expression under it (Algorithm 1); hidden tokens are aligned with a gene prior (Eq. 8).
    """

    Settings = FlagSettings
    settings: FlagSettings
    module_: FlagNetwork
    sizes_: dict[str, int]
    gene_mean_: FloatArray
    gene_std_: FloatArray
    feature_mean_: FloatArray
    feature_std_: FloatArray

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes``, ``n_features`` and ``prior_dim``."""
        return FlagNetwork(self.settings, **sizes)

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        trainer = self._trainer(train, validation, context)
        outcome = trainer.run(resume=context.resume)
        context.reporter.info(
            f"trained {outcome.updates} updates in {outcome.seconds:.0f} s; "
            f"best validation PCC {outcome.score:.3f} at update {outcome.best_update}"
        )

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        if not self.settings.diffusion:
            return self._regress(inputs)[None]
        return self._sample(inputs, range(draws), seed, self.settings.passes)

    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        if not self.settings.diffusion or not self._p.has_mean:
            return None
        noise = self._noise(inputs, [0], seed)
        return self._finish(on_windows(self._batches(inputs), noise, self._mean))[0]

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        if train[0].inputs.features.shape[1] == 0:
            return "there are no image features to condition on"
        return None

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        probe = Flag(self.settings)
        trainer = probe._trainer(train, train[:1], Context(context.genes, seed=context.seed, device=context.device))
        per_update = trainer.seconds_per_update()
        updates = total_updates(self.settings, trainer.objective.epoch_length)
        per_spot = per_update / self._spots_per_update(trainer) / 3  # a forward pass is a third of a training step
        passes = self.settings.passes * draws if self.settings.diffusion else 1
        return updates * per_update + sum(slide.n_spots for slide in test) * passes * per_spot

    @property
    def _p(self) -> Parameterization:
        rules = self.settings
        return parameterization(rules.parameterization, rules.sigma_min, rules.sigma_max, rules.noise_log_mean)

    @property
    def _scale(self) -> Scale:
        standardized = self._p.standardized or not self.settings.diffusion
        return Scale(self.gene_mean_, self.gene_std_, standardized=standardized)

    @property
    def _geometry(self) -> WindowGeometry:
        return WindowGeometry(self.settings.window_px, self.settings.sigma, self.settings.edge_channels)

    def _spots_per_update(self, trainer: Trainer) -> float:
        objective = trainer.objective
        assert isinstance(objective, FlagObjective)
        return float(objective.windows[0].mask.sum()) * self.settings.accumulate

    def _trainer(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> Trainer:
        self._learn_scales(train)
        expression, ids = [slide.expression for slide in train], [slide.inputs.slide_id for slide in train]
        prior = build_prior(self.settings.prior, expression, context.genes, ids)
        if prior is not None and self.settings.align_weight == 0:
            prior = None
        n_features = train[0].inputs.features.shape[1]
        self.sizes_ = {"n_genes": context.n_genes, "n_features": n_features, "prior_dim": prior.dim if prior else 0}
        with torch.random.fork_rng():
            torch.manual_seed(context.seed)
            self.module_ = FlagNetwork(self.settings, **self.sizes_).to(context.device)
        return Trainer(
            self.module_,
            FlagObjective(self, train, validation, prior, context),
            self.settings,
            seed=context.seed,
            device=context.device,
            folder=context.workdir,
            reporter=context.reporter,
        )

    def _learn_scales(self, train: Sequence[LabelledSlide]) -> None:
        self.gene_mean_, self.gene_std_ = gene_moments(train)
        self.feature_mean_, self.feature_std_ = feature_moments(train)

    def standardized_features(self, inputs: SlideInputs) -> FloatArray:
        """(n_spots, d) features as the network sees them."""
        if not self.settings.standardize_features:
            return inputs.features
        return standardized(inputs.features, self.feature_mean_, self.feature_std_)

    def inward(self, expression: FloatArray) -> FloatArray:
        """Expression on the scale the network works on."""
        return self._scale.inward(expression)

    def _batches(self, inputs: SlideInputs) -> Iterator[WindowBatch]:
        device = str(next(self.module_.parameters()).device)
        spots = max(1, _TOKEN_BUDGET // (self.sizes_["n_genes"] * self.settings.hidden_dim))
        for batch in grid_batches(inputs, self.standardized_features(inputs), self._geometry, spots):
            yield batch.to(device)

    def _noise(self, inputs: SlideInputs, draws: Sequence[int], seed: int) -> Tensor:
        return slide_noise(seed, inputs.slide_id, draws, inputs.n_spots, self.sizes_["n_genes"])

    def _sample(self, inputs: SlideInputs, draws: Sequence[int], seed: int, passes: int) -> FloatArray:
        noise = self._noise(inputs, draws, seed)
        solve = partial(self._solve, passes=passes)
        return self._finish(on_windows(self._batches(inputs), noise, solve))

    def _solve(self, batch: WindowBatch, z: Tensor, *, passes: int) -> Tensor:
        start = self.gene_mean_ if self.settings.start == "training-mean" else np.zeros_like(self.gene_mean_)
        centre = torch.zeros_like(z[0, 0]) if self._p.standardized else torch.from_numpy(start).to(z.device)
        network = bind(self.module_, batch)
        return sample(network, z, self._p, solver=self.settings.solver, passes=passes, centre=centre)

    def _mean(self, batch: WindowBatch, z: Tensor) -> Tensor:
        return posterior_mean(bind(self.module_, batch), z, self._p)

    def _regress(self, inputs: SlideInputs) -> FloatArray:
        zeros = torch.zeros(1, inputs.n_spots, self.sizes_["n_genes"])

        def solve(batch: WindowBatch, z: Tensor) -> Tensor:
            return bind(self.module_, batch)(z, z.new_zeros(len(z)))

        return self._finish(on_windows(self._batches(inputs), zeros, solve))[0]

    def _finish(self, clean: Tensor) -> FloatArray:
        expression = self._scale.outward(clean.numpy())
        return np.maximum(expression, 0) if self.settings.clip_negative else expression

    def validation_score(self, slides: Sequence[LabelledSlide], seed: int) -> float:
        """Mean PCC of the mean of a few draws on validation slides; windows and noise are fixed.

        The direct posterior mean would be cheaper, but it peaks long before the draws do: on HER2ST, stopping on it
        left single draws at PCC 0.40 where further training reaches 0.50.
        """
        draws = range(self.settings.validation_draws)
        scores = []
        for slide in slides:
            if self.settings.diffusion:
                predicted = self._sample(slide.inputs, draws, seed, self.settings.validation_passes).mean(axis=0)
            else:
                predicted = self._regress(slide.inputs)
            scores.append(mean_gene_correlation(slide.expression, predicted))
        return float(np.mean(scores))


class FlagObjective:
    """Algorithm 1: score loss on noisy windows plus weighted alignment.

    Args:
        method: the method being fitted, scales learnt.
        train: training slides.
        validation: validation slides.
        prior: gene prior or None.
        context: seed and device.
    """

    def __init__(
        self,
        method: Flag,
        train: Sequence[LabelledSlide],
        validation: Sequence[LabelledSlide],
        prior: GenePrior | None,
        context: Context,
    ) -> None:
        self.method, self.validation, self.context = method, validation, context
        settings = method.settings
        scaled = [LabelledSlide(slide.inputs, method.inward(slide.expression)) for slide in train]
        self.windows = TrainingWindows(
            scaled,
            [method.standardized_features(slide.inputs) for slide in train],
            method._geometry,
            batch=settings.batch_windows,
            sampling=settings.window_sampling,
            seed=context.seed,
            most_spots=settings.window_spots,
        )
        self.prior = prior
        self.n_spots = {slide.inputs.slide_id: slide.inputs.n_spots for slide in train}

    @property
    def epoch_length(self) -> int:
        return len(self.windows)

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        batch = self.windows[index].to(self.context.device)
        features = nn.functional.dropout(batch.features, self.method.settings.feature_dropout)
        assert batch.expression is not None
        projected: list[Tensor | None] = []

        def network(x: Tensor, t: Tensor) -> Tensor:
            out = module(x, t, features, batch.edges, batch.mask, project=self.prior is not None)
            projected.append(out.projected)
            return out.value.float()

        fit = self._fit_loss(network, batch.expression, generator)[batch.mask].mean()
        if self.prior is None or projected[0] is None:
            return {"total": fit, "score": fit}
        align = gene_alignment(projected[0], *self._embeddings(self.prior, batch))
        return {"total": fit + self.method.settings.align_weight * align, "score": fit, "align": align}

    def _embeddings(self, prior: GenePrior, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Gene embeddings and mask of the batch's real spots, in the order of its mask."""
        spots = np.concatenate(batch.spots)
        vectors, mask = prior.of(batch.slide_id, self.n_spots[batch.slide_id], spots)
        return torch.from_numpy(vectors).to(batch.mask.device), torch.from_numpy(mask).to(batch.mask.device)

    def _fit_loss(self, network: Network, clean: Tensor, generator: torch.Generator) -> Tensor:
        if not self.method.settings.diffusion:
            return (network(torch.zeros_like(clean), clean.new_zeros(len(clean))) - clean).square()
        sigma, z = training_noise(self.method._p, clean, generator)
        return self.method._p.loss(network, clean, sigma, z)

    def score(self, module: nn.Module) -> float:
        trained = self.method.module_
        self.method.module_ = module  # type: ignore[assignment]
        try:
            return self.method.validation_score(self.validation, self.context.seed)
        finally:
            self.method.module_ = trained


def bind(module: nn.Module, batch: WindowBatch) -> Network:
    """The network under one batch's conditions, as a function of noisy expression and time."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        return module(x, t, batch.features, batch.edges, batch.mask).value.float()

    return network
