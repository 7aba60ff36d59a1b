"""The base of the methods that diffuse expression on windows of spots: fitting, sampling, validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs
from stbench.methods.nn.diffusion import Solver, on_windows, parameterization, slide_noise, training_noise
from stbench.methods.nn.lean import dropped
from stbench.methods.nn.micro_batches import MicroBatches, padded
from stbench.methods.nn.precondition import Network, Parameterization
from stbench.methods.nn.samplers import posterior_mean, sample
from stbench.methods.nn.scaling import Scale, StandardizedRows, feature_moments, gene_moments
from stbench.methods.nn.sent import sent
from stbench.methods.nn.settings import GraphSettings
from stbench.methods.nn.windows import Rows, TrainingWindows, WindowBatch, WindowGeometry, grid_batches
from stbench.methods.trained import TrainedMethod, lent, without_features
from stbench.training.loop import total_updates
from stbench.training.scores import mean_slide_correlation


class WindowObjective(ABC):
    """Windows to train on and how the weights are judged; a method adds its losses.

    Args:
        method: the method being fitted, scales learnt.
        train: training slides.
        validation: validation slides.
        context: seed and device.
    """

    def __init__(
        self,
        method: WindowDiffusion,
        train: Sequence[LabelledSlide],
        validation: Sequence[LabelledSlide],
        context: Context,
    ) -> None:
        self.method, self.validation, self.context = method, validation, context
        self.sizes: dict[str, int] = {}  # of the network, beside genes and features
        settings, scale = method.settings, method.scale
        self._shift, self._factor = (torch.from_numpy(part).to(context.device) for part in (scale.shift, scale.factor))
        self.windows = TrainingWindows(
            train,
            [method.standardized_rows(slide.inputs) for slide in train],
            method.geometry,
            batch=settings.batch_windows,
            sampling=settings.window_sampling,
            seed=context.seed,
            most_spots=settings.window_spots or settings.window_most_spots,
        )

    @property
    def epoch_length(self) -> int:
        """Batches of training windows."""
        return len(self.windows)

    def micro_batch(self, index: int) -> WindowBatch:
        """The windows of micro-step ``index``, on the host."""
        return self.windows[index]

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss terms of a micro-step, see :class:`stbench.training.loop.Objective`."""
        batch = self.windows[index].to(self.context.device)
        features = nn.functional.dropout(batch.features, self.method.settings.feature_dropout)
        return self.terms(module, MicroBatches.of([batch.with_features(features)]), generator)[0]

    def losses_together(
        self, module: nn.Module, batches: Sequence[WindowBatch], generator: torch.Generator
    ) -> list[dict[str, Tensor]]:
        """Loss terms of micro-steps in one pass, see :class:`stbench.training.together.TogetherObjective`."""
        micro = MicroBatches.of(batches)
        joint = micro.joint.to(self.context.device)
        features = dropped(joint.features, self.method.settings.feature_dropout, training=True)
        return self.terms(module, replace(micro, joint=joint.with_features(features)), generator)

    def inward(self, batch: WindowBatch) -> Tensor:
        """(B, N, G) expression of a training batch on the network's scale, 0 for padding."""
        assert batch.expression is not None
        return torch.where(batch.mask.unsqueeze(-1), (batch.expression - self._shift) / self._factor, 0)

    def outward(self, x: Tensor) -> Tensor:
        """Expression from the network's scale to the task's."""
        return x * self._factor + self._shift

    def noise(self, micro: MicroBatches, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(B,) levels and (B, N, G) unit noise on the device, drawn one micro-step after the other."""
        sizes = [(*batch.shape, self.context.n_genes) for batch in micro.each]
        sigma, z = zip(*(training_noise(self.method._p, size, generator) for size in sizes), strict=True)
        return self._there(torch.cat(sigma)), self._there(padded(z))

    @abstractmethod
    def terms(self, module: nn.Module, micro: MicroBatches, generator: torch.Generator) -> list[dict[str, Tensor]]:
        """Loss terms of each micro-step; ``"total"`` is what is minimised."""

    def _there(self, tensor: Tensor) -> Tensor:
        """On the device."""
        return sent(tensor, self.context.device)

    def score(self, module: nn.Module) -> float:
        """What :meth:`WindowDiffusion.validation_score` gives with these weights."""
        with lent(self.method, module):
            return self.method.validation_score(self.validation, self.context.seed)


class WindowDiffusion(TrainedMethod):
    """A diffusion method whose spots talk within a window.

    A subclass names its settings, builds its network, binds it to a batch and gives the losses. What the sampler moves
    may be wider than the expression: its first G columns are the expression.
    """

    settings: GraphSettings
    gene_mean_: FloatArray
    gene_std_: FloatArray
    feature_mean_: FloatArray
    feature_std_: FloatArray

    @abstractmethod
    def bind(self, module: nn.Module, batch: WindowBatch) -> Network:
        """The network under one batch's conditions, as a function of the noisy state and time."""

    @abstractmethod
    def _objective(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> WindowObjective:
        """Losses on the training windows; scales are learnt."""

    @property
    @abstractmethod
    def _spots_per_batch(self) -> int:
        """Most spots, padding included, of one sampling batch."""

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """(draws, n_spots, G) samples of the probability-flow ODE (Eq. 13)."""
        return self._sample(inputs, range(draws), seed, self.settings.passes)

    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        """(n_spots, G) from an antithetic pair of one-step estimates; None for ``raw`` and ``epsilon``."""
        if not self._p.has_mean:
            return None

        def mean(batch: WindowBatch, z: Tensor, draws: Sequence[int]) -> Tensor:
            start = self._start(batch, z, seed, draws)
            return posterior_mean(self.bind(self.module_, batch), start, self._p)[..., : z.shape[-1]]

        noise = slide_noise(seed, inputs.slide_id, [0], inputs.n_spots, self.sizes_["n_genes"])
        return self._finish(self._on_windows(inputs, noise, mean))[0]

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """No image features."""
        return without_features(train)

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        """Training and sampling, from two micro-steps."""
        trainer = self._probe(train, context)
        objective = trainer.objective
        assert isinstance(objective, WindowObjective)
        per_update = trainer.seconds_per_update()
        spots = float(objective.windows[0].mask.sum()) * self.settings.accumulate
        per_spot = per_update / spots / 3  # a forward pass is a third of a training step
        updates = total_updates(self.settings, objective.epoch_length)
        return updates * per_update + sum(slide.n_spots for slide in test) * self._passes(draws) * per_spot

    def standardized_rows(self, inputs: SlideInputs) -> Rows:
        """(n_spots, d) features as the network sees them, made for the rows asked for."""
        if not self.settings.standardize_features:
            return inputs.features
        return StandardizedRows(inputs.features, self.feature_mean_, self.feature_std_)

    def validation_score(self, slides: Sequence[LabelledSlide], seed: int) -> float:
        """Mean PCC of the mean of a few draws on validation slides; windows and noise are fixed.

        The direct posterior mean would be cheaper, but it peaks long before the draws do: on HER2ST, stopping on it
        left single draws at PCC 0.40 where further training reaches 0.50.
        """
        return mean_slide_correlation((slide.expression, self._judged(slide.inputs, seed)) for slide in slides)

    @property
    def scale(self) -> Scale:
        """Between the task's expression and the network's."""
        return Scale(self.gene_mean_, self.gene_std_, standardized=self._p.standardized)

    @property
    def geometry(self) -> WindowGeometry:
        """How spots become a graph."""
        rules = self.settings
        return WindowGeometry(rules.window_px, rules.sigma, rules.edge_channels, rules.window_most_spots)

    @property
    def _p(self) -> Parameterization:
        rules = self.settings
        return parameterization(rules.parameterization, rules.sigma_min, rules.sigma_max, rules.noise_log_mean)

    def _passes(self, draws: int) -> int:
        return self.settings.passes * draws

    def _prepare(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> WindowObjective:
        self.gene_mean_, self.gene_std_ = gene_moments(train)
        self.feature_mean_, self.feature_std_ = feature_moments(train)
        objective = self._objective(train, validation, context)
        n_features = train[0].inputs.features.shape[1]
        self._new_module(context, n_genes=context.n_genes, n_features=n_features, **objective.sizes)
        return objective

    def _batches(self, inputs: SlideInputs) -> Iterator[WindowBatch]:
        device = str(next(self.module_.parameters()).device)
        rows = self.standardized_rows(inputs)
        for batch in grid_batches(inputs, rows, self.geometry, self._spots_per_batch):
            yield batch.to(device)

    def _draws_at_once(self, batch: WindowBatch) -> int:
        """Draws of a batch that go through the network together: one on a CPU, whose cache a batch fills."""
        return 1 if batch.mask.is_cpu else max(1, self._spots_per_batch // batch.mask.numel())

    def _start(self, batch: WindowBatch, z: Tensor, seed: int, draws: Sequence[int]) -> Tensor:
        """Unit noise of the state, from the (B, N, G) noise of the spots and the draw of each window.

        Depends on seed, slide and draw alone.
        """
        return z

    def _sample(self, inputs: SlideInputs, draws: Sequence[int], seed: int, passes: int) -> FloatArray:
        noise = slide_noise(seed, inputs.slide_id, draws, inputs.n_spots, self.sizes_["n_genes"])

        def solve(batch: WindowBatch, z: Tensor, positions: Sequence[int]) -> Tensor:
            start = self._start(batch, z, seed, [draws[position] for position in positions])
            return self._solve(batch, start, passes)[..., : z.shape[-1]]

        return self._finish(self._on_windows(inputs, noise, solve))

    def _on_windows(self, inputs: SlideInputs, noise: Tensor, solve: Solver) -> Tensor:
        """(n_draws, n_spots, G) that a solver makes of the noise of a slide, see :func:`on_windows`."""
        with self.computing():
            return on_windows(self._batches(inputs), noise, solve, self._draws_at_once)

    def _solve(self, batch: WindowBatch, z: Tensor, passes: int) -> Tensor:
        centre = z.new_zeros(z.shape[-1])
        if self.settings.start == "training-mean" and not self._p.standardized:
            centre[: len(self.gene_mean_)] = torch.from_numpy(self.gene_mean_)
        network = self.bind(self.module_, batch)
        return sample(network, z, self._p, solver=self.settings.solver, passes=passes, centre=centre)

    def _judged(self, inputs: SlideInputs, seed: int) -> FloatArray:
        """(n_spots, G) prediction that validation judges."""
        draws = range(self.settings.validation_draws)
        mean: FloatArray = self._sample(inputs, draws, seed, self.settings.validation_passes).mean(axis=0)
        return mean

    def _finish(self, clean: Tensor) -> FloatArray:
        expression = self.scale.outward(clean.numpy())
        return np.maximum(expression, 0, out=expression) if self.settings.clip_negative else expression
