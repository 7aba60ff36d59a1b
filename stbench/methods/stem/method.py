"""Stem as a method of the harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stbench.errors import DataError, RunFailedError, SettingError
from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs, draw_seed
from stbench.methods.nn.backbone import Backbone, make_backbone
from stbench.methods.nn.discrete import linear_schedule, respaced
from stbench.methods.nn.scaling import Scale, gene_moments
from stbench.methods.nn.sent import sent
from stbench.methods.nn.spot_input import SpotReader, input_moments, why_unreadable
from stbench.methods.stem.diffusion import Diffusion, Network, trajectory
from stbench.methods.stem.network import StemNetwork
from stbench.methods.stem.released import take_released
from stbench.methods.stem.settings import StemSettings
from stbench.methods.stem.views import view_vectors
from stbench.methods.trained import TrainedMethod, lent, seeded
from stbench.training.loop import total_updates
from stbench.training.memory import in_halves
from stbench.training.scores import mean_slide_correlation

_BATCH_VALUES = {"cpu": 2**20, "cuda": 2**26}  # tokens x width of one pass: small ones stay in a CPU's cache


class Stem(TrainedMethod):
    """Stem (arXiv:2501.15598).

    A denoising diffusion model of the expression of one spot given its image features: genes are tokens, spots know
    nothing of each other. The prediction is the mean of several draws.
    """

    Settings = StemSettings
    settings: StemSettings
    module_: StemNetwork
    gene_mean_: FloatArray
    gene_std_: FloatArray
    feature_mean_: FloatArray
    feature_std_: FloatArray

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes`` and ``n_features``."""
        network = StemNetwork(self.settings, **sizes)
        if self.settings.input == "patches":
            network.backbone = Backbone(self.settings.backbone, trained=False)
        return network

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """Draws, on the scale of the training expression; see :class:`stbench.methods.base.Method`.

        Raises:
            RunFailedError: a state is not finite; names slide, draw, step and sampler.
            DataError: the slide has features of another width than in training, or no picture where one is read.
        """
        return self._sample(inputs.slide_id, self.reader(inputs), draws, seed, self.settings.steps)

    @torch.no_grad()
    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        """One-pass estimate from an antithetic pair of pure noise; with ``epsilon`` its error would be multiplied."""
        if self.settings.prediction == "epsilon":
            return None
        process, vectors = self._process(), self.reader(inputs)
        with self.computing():
            network, z = self._network(vectors), self._noise(inputs.slide_id, len(vectors), seed, 0)()
            k = torch.full((len(z),), len(process.schedule) - 1, device=z.device)
            clean = [process.reverse(network(x, k), x, k).clean for x in (z, -z)]
        return self._finish(torch.stack(clean).mean(dim=0))

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """Slides without the input that the settings name, or a backbone without weights."""
        return why_unreadable(self.settings, self.settings.backbone, [*(slide.inputs for slide in train), *test])

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        """Training and sampling, from two micro-steps of a few spots; None where patches are encoded first."""
        rules = self.settings
        if rules.input == "patches":  # encoding alone would take as long as the estimate may
            return None
        # the paper's 256 spots at once would take minutes and gigabytes to estimate minutes from
        few: dict[str, object] = {
            "batch_windows": min(rules.batch_windows, self._spots_at_once(context.n_genes, "cpu"))
        }
        few |= {"accumulate": 1, "last_batch": "keep"}
        trainer = Stem(rules.model_copy(update=few))._probe(train, context)
        assert isinstance(trainer.objective, StemObjective)
        per_spot = trainer.seconds_per_update() / len(trainer.objective.rows(0))
        per_epoch = -(-len(trainer.objective.expression) // rules.batch_windows)
        updates = 0 if rules.weights else total_updates(rules, per_epoch)
        evaluations = sum(slide.n_spots for slide in test) * draws * len(self._process(rules.steps).schedule)
        trained = updates * rules.accumulate * rules.batch_windows
        return (trained + evaluations / 3) * per_spot  # a forward pass is a third of a training step

    @property
    def reader(self) -> SpotReader:
        """(n_spots, d) vectors of a slide: cached features, or its patches through the frozen backbone."""
        return SpotReader(self.settings, self.feature_mean_, self.feature_std_, self.module_.backbone)

    @property
    def scale(self) -> Scale:
        """Between the task's expression and the network's."""
        return Scale(self.gene_mean_, self.gene_std_, standardized=self.settings.standardize_expression)

    def _prepare(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> StemObjective:
        self.gene_mean_, self.gene_std_ = gene_moments(train)
        self.feature_mean_, self.feature_std_ = input_moments(self.settings, train)
        with seeded(context.seed):
            self._make(train, context)
        return StemObjective(self, train, validation, context)

    def _make(self, train: Sequence[LabelledSlide], context: Context) -> None:
        """The network at its start."""
        rules, backbone = self.settings, None
        if rules.input == "patches":
            backbone = make_backbone(
                rules.backbone, rules.backbone_weights, trained=False, side=rules.patch_px, pixels="standard"
            )
        width = backbone.dim if backbone else train[0].inputs.features.shape[1]
        self.sizes_ = {"n_genes": context.n_genes, "n_features": width}
        self.module_ = StemNetwork(rules, **self.sizes_)
        self.module_.backbone = backbone
        self.module_.to(context.device)

    def _take(self, state: Mapping[str, Tensor], where: str) -> None:
        take_released(self.module_, state, where)

    def _process(self, spacing: str | None = None) -> Diffusion:
        schedule = linear_schedule(self.settings.schedule_steps)
        return Diffusion(schedule if spacing is None else respaced(schedule, spacing), self.settings.prediction)

    def _network(self, vectors: FloatArray) -> Network:
        """The network under the conditions of spots (n, d), a few of them at a time."""
        device = next(self.module_.parameters()).device
        size = self._spots_at_once(self.sizes_["n_genes"], device.type)
        conditions = [self.module_.condition(part) for part in torch.split(torch.from_numpy(vectors).to(device), size)]

        def network(x: Tensor, t: Tensor) -> Tensor:
            parts = zip(torch.split(x, size), torch.split(t, size), conditions, strict=True)
            return torch.cat([_denoised(self.module_, *part) for part in parts])

        return network

    def _spots_at_once(self, n_genes: int, kind: str) -> int:
        return max(1, _BATCH_VALUES["cuda" if kind == "cuda" else "cpu"] // (n_genes * self.settings.hidden_dim))

    def _noise(self, slide_id: str, n_spots: int, seed: int, draw: int) -> Callable[[], Tensor]:
        """Unit noise (n_spots, G) of one draw, the next with each call: it depends on seed, slide and draw alone."""
        generator = torch.Generator().manual_seed(draw_seed(seed, slide_id, draw))
        shape, device = (n_spots, self.sizes_["n_genes"]), next(self.module_.parameters()).device
        return lambda: sent(torch.randn(shape, generator=generator), device)

    @torch.no_grad()
    def _sample(self, slide_id: str, vectors: FloatArray, draws: int, seed: int, spacing: str) -> FloatArray:
        noises = [self._noise(slide_id, len(vectors), seed, draw) for draw in range(draws)]
        names = [f"slide {slide_id}, draw {draw}" for draw in range(draws)]
        with self.computing():
            network = self._network(vectors)
            drawn = [self._draw(network, *one, spacing) for one in zip(noises, names, strict=True)]
        return np.stack(drawn)

    def _draw(self, network: Network, noise: Callable[[], Tensor], name: str, spacing: str) -> FloatArray:
        process, rules = self._process(spacing), self.settings
        x, steps, finite = noise(), process.schedule.steps, []
        for state, _ in trajectory(process, network, x, noise, sampler=rules.sampler, eta=rules.eta):
            x = state
            finite.append(torch.isfinite(x).all())
        sound = torch.stack(finite).tolist()  # asked once a draw: the host waits for the device
        if not all(sound):
            done = sound.index(False) + 1
            raise RunFailedError(
                f"sampling {name}: expected finite expression, found NaN or infinity after step {done} of "
                f"{len(steps)} (noise level {steps[-done]} of {rules.schedule_steps}) with "
                f"sampler={rules.sampler}, steps={spacing}; train longer or with a lower lr, or set "
                "standardize_expression=true"
            )
        return self._finish(x)

    def _finish(self, clean: Tensor) -> FloatArray:
        expression = self.scale.outward(clean.cpu().numpy())
        return np.maximum(expression, 0) if self.settings.clip_negative else expression


class StemObjective:
    """The hybrid loss on shuffled spots of all training slides.

    Args:
        method: the method being fitted, scales learnt.
        train: training slides.
        validation: validation slides.
        context: seed and device.

    Raises:
        DataError: no training spot has any count in the panel.
        SettingError: fewer spots than a batch where incomplete batches are dropped.
    """

    def __init__(
        self,
        method: Stem,
        train: Sequence[LabelledSlide],
        validation: Sequence[LabelledSlide],
        context: Context,
    ) -> None:
        self.method, self.context = method, context
        self.validation = [(slide, method.reader(slide.inputs)) for slide in validation]
        expression = np.concatenate([slide.expression for slide in train])
        features = self._vectors([slide.inputs for slide in train])  # (n, 1 or 1 + views, d)
        if method.settings.drop_empty_spots:
            kept = expression.any(axis=1)
            expression, features = expression[kept], features[kept]
        if not len(expression):
            raise DataError("stem: expected training spots with counts in the panel, found none; check the panel")
        self.views = features.shape[1]
        self.expression = torch.from_numpy(method.scale.inward(expression)).to(context.device)
        self.features = torch.from_numpy(features).to(context.device)
        self.process = method._process()
        if self.epoch_length == 0:
            raise SettingError(
                f"stem: expected at least one full batch of {method.settings.batch_windows} training spots, found "
                f"{len(expression) * self.views} spots; lower batch_windows or set last_batch=keep"
            )

    def _vectors(self, slides: Sequence[SlideInputs]) -> FloatArray:
        rules, backbone = self.method.settings, self.method.module_.backbone
        plain = np.concatenate([self.method.reader(inputs) for inputs in slides])[:, None]
        if backbone is None or not rules.augment:
            return plain
        rng = np.random.default_rng(self.context.seed)
        views = [view_vectors(backbone, inputs, rules.patch_px, rules.views, rng) for inputs in slides]
        return np.concatenate([plain, np.concatenate(views)], axis=1)

    @property
    def epoch_length(self) -> int:
        """Batches of training spots and their views; 0 where none is full and the rest is dropped."""
        rules, n = self.method.settings, len(self.expression) * self.views
        return n // rules.batch_windows if rules.last_batch == "drop" else -(-n // rules.batch_windows)

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """``mse`` of the noise, ``vb`` of the variance, and their sum (Nichol and Dhariwal 2021)."""
        spots, views = self.rows(index).unbind(dim=1)
        clean, features = self.expression[spots], self.features[spots, views]
        k = sent(torch.randint(len(self.process.schedule), (len(spots),), generator=generator), clean.device)
        noise = sent(torch.randn(clean.shape, generator=generator), clean.device)
        found = self.process.losses(lambda x, t: module(x, t, features).float(), clean, k, noise)
        return {"total": found.total.mean(), "mse": found.mse.mean(), "vb": found.vb.mean()}

    def rows(self, index: int) -> Tensor:
        """(b, 2) spot and view of each row of micro-step ``index``, counted over all epochs."""
        epoch, position = divmod(index, self.epoch_length)
        order = np.random.default_rng([self.context.seed, epoch]).permutation(len(self.expression) * self.views)
        size = self.method.settings.batch_windows
        chosen = np.stack(divmod(order[position * size : (position + 1) * size], self.views), axis=1)
        return sent(torch.from_numpy(chosen), self.expression.device)

    def score(self, module: nn.Module) -> float:
        """Mean PCC over validation slides of the mean of a few draws with fixed noise."""
        with lent(self.method, module):
            return mean_slide_correlation(
                (slide.expression, self._judged(slide, read)) for slide, read in self.validation
            )

    def _judged(self, slide: LabelledSlide, vectors: FloatArray) -> FloatArray:
        rules, seed = self.method.settings, self.context.seed
        draws, spacing = rules.validation_draws, rules.validation_steps
        mean: FloatArray = self.method._sample(slide.inputs.slide_id, vectors, draws, seed, spacing).mean(axis=0)
        return mean


def _denoised(module: StemNetwork, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    return in_halves(lambda some: module.denoise(x[some], t[some], condition[some]).float(), len(x))
