"""STFlow as a method of the harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from stbench.errors import RunFailedError
from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs, draw_seed
from stbench.methods.nn.scaling import feature_moments, standardized
from stbench.methods.nn.sent import sent
from stbench.methods.stflow.flow import between, refine
from stbench.methods.stflow.geometry import GraphRule, SpotGraph, build_graph
from stbench.methods.stflow.network import StFlowNetwork
from stbench.methods.stflow.prior import ZeroInflatedNegativeBinomial, fitted_prior, fixed_prior
from stbench.methods.stflow.released import take_released
from stbench.methods.stflow.sets import PatchSets
from stbench.methods.stflow.settings import StFlowSettings
from stbench.methods.trained import TrainedMethod, without_features
from stbench.training.loop import Objective, total_updates
from stbench.training.scores import mean_slide_correlation
from stbench.training.settings import TrainingSettings

_KEPT_EDGES = 2**29  # numbers of pair embeddings kept over the steps and draws of a slide; 2 GiB
_PROBED = 10  # batches whose sizes are averaged for an estimate of time


class StFlow(TrainedMethod):
    """STFlow (arXiv:2506.05361).

    All spots of a slide flow together from a draw of a zero-inflated negative binomial to expression; each spot attends
    to its nearest spots, and sees how their expression differs from its own. A draw is a deterministic function of its
    draw from the prior.
    """

    Settings = StFlowSettings
    settings: StFlowSettings
    module_: StFlowNetwork
    feature_mean_: FloatArray
    feature_std_: FloatArray
    prior_theta_: FloatArray
    prior_mean_: FloatArray
    prior_zero_: FloatArray

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes`` and ``n_features``."""
        return StFlowNetwork(self.settings, **sizes)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """(draws, n_spots, G) end points of the flow.

        Raises:
            RunFailedError: a state is not finite; names slide, draw and step.
        """
        return self._sample(self.module_, inputs, draws, seed, self.settings.refinement_steps)

    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        """The clean expression predicted at the start of the flow, where the state says nothing of the truth."""
        return self._sample(self.module_, inputs, 1, seed, 1)[0]

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """No image features."""
        return without_features(train)

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        """Training and sampling, from two micro-steps."""
        trainer = self._probe(train, context)
        objective = trainer.objective
        assert isinstance(objective, StFlowObjective)
        sets = objective.sets
        size = float(np.mean([len(sets[k].graph) for k in range(min(_PROBED, len(sets)))]))
        timed = max(len(sets[1].graph), size / 4)  # a set of a few spots would measure the overhead alone
        per_spot = trainer.seconds_per_update() / self.settings.accumulate / timed
        updates = 0 if self.settings.weights else total_updates(self.settings, len(sets))
        trained = updates * self.settings.accumulate * size
        sampled = sum(slide.n_spots for slide in test) * draws * self.settings.refinement_steps
        return per_spot * (trained + sampled / 3)  # a forward pass is a third of a training step

    @property
    def rule(self) -> GraphRule:
        """How neighbours and axes are found."""
        chosen = self.settings
        return GraphRule(chosen.neighbours, chosen.ties, chosen.tie_width, chosen.frames, chosen.frame_gap)

    def standardized_features(self, inputs: SlideInputs) -> FloatArray:
        """(n_spots, F) features as the network sees them."""
        if not self.settings.standardize_features:
            return inputs.features
        return standardized(inputs.features, self.feature_mean_, self.feature_std_)

    def draw_start(self, n_spots: int, generator: np.random.Generator) -> Tensor:
        """(n_spots, G) draw from the prior, where the flow starts."""
        shape = (n_spots, self.sizes_["n_genes"])
        if self.settings.prior == "zero":
            return torch.zeros(shape)
        if self.settings.prior == "gaussian":
            return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
        theta, mean, zero = (
            part.astype(np.float64) for part in (self.prior_theta_, self.prior_mean_, self.prior_zero_)
        )
        return torch.from_numpy(ZeroInflatedNegativeBinomial(theta, mean, zero).sample(n_spots, generator))

    def validation_score(self, module: StFlowNetwork, slides: Sequence[LabelledSlide], seed: int) -> float:
        """Mean PCC of the mean of a few draws on validation slides; their starts are fixed."""
        draws, steps = self.settings.validation_draws, self.settings.refinement_steps
        return mean_slide_correlation(
            (slide.expression, self._sample(module, slide.inputs, draws, seed, steps).mean(axis=0)) for slide in slides
        )

    def _prepare(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> StFlowObjective:
        self._learn_statistics(train)
        self._new_module(context, n_genes=context.n_genes, n_features=train[0].inputs.features.shape[1])
        return StFlowObjective(self, train, validation, context)

    def _take(self, state: Mapping[str, Tensor], where: str) -> None:
        take_released(self.module_, state, where)

    def _rules(self, objective: Objective) -> TrainingSettings:
        rules = self.settings
        if not rules.validate_each_epoch:
            return rules
        return rules.model_copy(update={"validate_every": max(1, objective.epoch_length // rules.accumulate)})

    def _learn_statistics(self, train: Sequence[LabelledSlide]) -> None:
        self.feature_mean_, self.feature_std_ = feature_moments(train)
        chosen, expression = self.settings, np.concatenate([slide.expression for slide in train])
        prior = fitted_prior(expression)
        if chosen.prior_fit == "fixed":
            constants = (chosen.prior_total_count, chosen.prior_logits, chosen.prior_zi_logit)
            prior = fixed_prior(expression.shape[1], *constants)
        self.prior_theta_, self.prior_mean_, self.prior_zero_ = (
            part.astype(np.float32) for part in (prior.theta, prior.mean, prior.zero)
        )

    @torch.no_grad()
    def _sample(self, module: StFlowNetwork, inputs: SlideInputs, draws: int, seed: int, steps: int) -> FloatArray:
        """(draws, n_spots, G) samples of a slide."""
        with self.computing():
            found = self._flown(module, inputs, draws, seed, steps)
        return np.maximum(found, 0, out=found) if self.settings.clip_negative else found

    def _flown(self, module: StFlowNetwork, inputs: SlideInputs, draws: int, seed: int, steps: int) -> FloatArray:
        device = next(module.parameters()).device
        features = torch.from_numpy(self.standardized_features(inputs)).to(device)
        graph = build_graph(inputs.xy, self.rule).to(device)
        edges = module.edge_states(graph) if self._edges_fit(graph) else None

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            clean: Tensor = module(x, t, features, graph, edges)
            return clean.float()

        found = np.empty((draws, inputs.n_spots, self.sizes_["n_genes"]), dtype=np.float32)
        for draw in range(draws):
            generator, finite = np.random.default_rng(draw_seed(seed, inputs.slide_id, draw)), []
            for step in refine(denoise, sent(self.draw_start(inputs.n_spots, generator), device), steps):
                finite.append(torch.isfinite(step.clean).all())
                if len(finite) == steps:
                    found[draw] = step.clean.cpu().numpy()
                del step  # else its state and estimate stay during the next pass
            self._check(torch.stack(finite).tolist(), inputs, draw)
        return found

    def _edges_fit(self, graph: SpotGraph) -> bool:
        return len(graph) * graph.width * self.settings.edge_dim * self.settings.layers <= _KEPT_EDGES

    def _check(self, sound: list[bool], inputs: SlideInputs, draw: int) -> None:
        if all(sound):
            return
        where = f"draw {draw}, refinement step {sound.index(False) + 1} of {len(sound)}"
        cause = f"the weights are not sound: fit again with lr below {self.settings.lr:g}"
        if not np.isfinite(inputs.features).all():
            cause = "so are its image features: encode the slide again"
        raise RunFailedError(
            f"sampling slide {inputs.slide_id} gave values that are not finite in {where} "
            f"(refinement_steps = {self.settings.refinement_steps}); {cause}"
        )


class StFlowObjective:
    """Mean squared error of the clean expression, at a random time of the flow of every patch set.

    Args:
        method: the method being fitted, statistics learnt.
        train: training slides.
        validation: validation slides.
        context: seed and device.
    """

    def __init__(
        self,
        method: StFlow,
        train: Sequence[LabelledSlide],
        validation: Sequence[LabelledSlide],
        context: Context,
    ) -> None:
        self.method, self.validation, self.context = method, validation, context
        settings = method.settings
        self.sets = PatchSets(
            train,
            [method.standardized_features(slide.inputs) for slide in train],
            method.rule,
            batch=settings.batch_windows,
            visits=settings.visits,
            most=settings.set_spots,
            seed=context.seed,
        )

    @property
    def epoch_length(self) -> int:
        """Batches of patch sets."""
        return len(self.sets)

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the clean expression, the only term."""
        batch = self.sets[index].to(self.context.device)
        chance = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        start = sent(self.method.draw_start(len(batch.graph), chance), self.context.device)
        t = sent(torch.rand(batch.n_sets, generator=generator), self.context.device)
        features = nn.functional.dropout(batch.features, self.method.settings.feature_dropout)
        x = between(start, batch.expression, t[batch.graph.slide])
        error = (module(x, t, features, batch.graph).float() - batch.expression).square().mean()
        return {"total": error}

    def score(self, module: nn.Module) -> float:
        """What :meth:`StFlow.validation_score` gives with these weights."""
        assert isinstance(module, StFlowNetwork)
        return self.method.validation_score(module, self.validation, self.context.seed)
