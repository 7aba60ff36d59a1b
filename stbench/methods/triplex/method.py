"""TRIPLEX as a method of the harness."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stbench.errors import DataError, SettingError
from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs
from stbench.methods.nn.backbone import without_weights
from stbench.methods.nn.patch_settings import RANDOM
from stbench.methods.nn.scaling import Scale, feature_moments, gene_moments, moments, standardized
from stbench.methods.trained import TrainedMethod
from stbench.methods.triplex.network import TriplexNetwork
from stbench.methods.triplex.objective import TrainingSlide, TriplexObjective
from stbench.methods.triplex.positions import CENTRE, smoothed
from stbench.methods.triplex.released import take_released
from stbench.methods.triplex.settings import TriplexSettings
from stbench.methods.triplex.views import (
    SlideView,
    Tiles,
    check,
    grid_cells,
    grid_view,
    patch_array,
    problem,
    tile_features,
    tile_view,
)
from stbench.training.loop import total_updates
from stbench.training.memory import in_halves
from stbench.training.scores import mean_slide_correlation

_CHUNK = {"features": 256, "patches": 64}  # spots predicted at a time
_PROBED = 4  # spots of the slide that stands for all where tiles have to be cut

_Cut = tuple[Tiles, NDArray[np.bool_]]


class Triplex(TrainedMethod):
    """TRIPLEX (arXiv:2403.07592).

    A spot's expression from three views, its own patch, the 5 x 5 tiles around it and all spots of its slide, fused by
    cross-attention; four heads learn together, the fused one predicts.
    """

    Settings = TriplexSettings
    settings: TriplexSettings
    module_: TriplexNetwork
    gene_mean_: FloatArray
    gene_std_: FloatArray
    feature_mean_: FloatArray
    feature_std_: FloatArray
    tile_mean_: FloatArray
    tile_std_: FloatArray

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes``, ``n_target`` and ``n_context``."""
        return TriplexNetwork(self.settings, **sizes)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """(1, n_spots, G) of the fused head, on the scale of the training expression.

        Raises:
            DataError: the slide lacks what the method reads, or its features have another width than in training.
        """
        return self._predicted(self.module_, self._view(inputs))[None]

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """A backbone without weights, or a slide without one of its views."""
        if self._lacks_weights:
            return without_weights(self.settings.backbone)
        reasons = (problem(inputs, self.settings) for inputs in [*(slide.inputs for slide in train), *test])
        return next((reason for reason in reasons if reason), None)

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        """Training, from two micro-steps, and cutting tiles, from a few spots."""
        if self.settings.weights is not None:
            return None
        cut = self.settings.neighbours == "patches"
        slides = [_shortened(train[0])] if cut else list(train)
        start = time.perf_counter()
        trainer = self._probe(slides, context)
        per_spot = (time.perf_counter() - start) / _PROBED / 2 if cut else 0.0  # once to train, once to validate
        n_spots, probed = (sum(slide.inputs.n_spots for slide in part) for part in (train, slides))
        batch = min(self.settings.batch_windows, n_spots)
        per_update = trainer.seconds_per_update() * batch / min(batch, probed)
        updates = total_updates(self.settings, -(-n_spots // batch))
        return updates * per_update + (n_spots + sum(slide.n_spots for slide in test)) * per_spot

    def _take(self, state: Mapping[str, Tensor], where: str) -> None:
        take_released(self.module_, state, where)

    @property
    def _scale(self) -> Scale:
        return Scale(self.gene_mean_, self.gene_std_, standardized=self.settings.standardize_genes)

    def _prepare(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> TriplexObjective:
        for slide in [*train, *validation]:
            check(slide.inputs, self.settings)
        self._build(train[0].inputs.features.shape[1], context)
        tiles = self._learn_scales(train, context)
        slides = [
            TrainingSlide(self._view(slide.inputs, cut), self._labels(slide))
            for slide, cut in zip(train, tiles, strict=True)
        ]
        judged = [(self._view(slide.inputs), slide.expression) for slide in validation]

        def score(module: TriplexNetwork) -> float:
            return mean_slide_correlation((y, self._predicted(module, view)) for view, y in judged)

        return TriplexObjective(self.settings, slides, score, seed=context.seed, device=context.device)

    @property
    def _lacks_weights(self) -> bool:
        """Whether a network needs weights nobody named; a released state dict holds those of the target alone."""
        settings = self.settings
        needed = settings.neighbours == "patches" or (settings.input == "patches" and settings.weights is None)
        return needed and settings.backbone_weights is None

    def _build(self, width: int, context: Context) -> None:
        settings = self.settings
        if self._lacks_weights:
            raise SettingError(without_weights(settings.backbone))
        target = width if settings.input == "features" else 0
        around = width if settings.neighbours == "grid" else 0
        self._new_module(context, n_genes=context.n_genes, n_target=target, n_context=around)
        self.module_.eval()
        for network in (self.module_.backbone, self.module_.extractor):
            if network is None:
                continue
            network.check_side(settings.patch_px)
            if settings.backbone_weights not in (None, RANDOM):
                network.load(str(settings.backbone_weights))

    def _learn_scales(self, train: Sequence[LabelledSlide], context: Context) -> list[_Cut | None]:
        self.gene_mean_, self.gene_std_ = gene_moments(train)
        self.feature_mean_, self.feature_std_ = feature_moments(train)
        if self.settings.neighbours == "grid":
            return [None] * len(train)
        cuts = []
        with context.reporter.track("encoding tiles", len(train)) as advance:
            for slide in train:
                cuts.append(self._cut(slide.inputs))
                advance(note=slide.inputs.slide_id)
        middle = np.concatenate([tiles[:, CENTRE] for tiles, _ in cuts]).astype(np.float32)
        self.tile_mean_, self.tile_std_ = moments([middle])
        return list(cuts)

    def _cut(self, inputs: SlideInputs) -> _Cut:
        assert self.module_.extractor is not None
        return tile_features(inputs, self.module_.extractor, self.settings.patch_px)

    def _labels(self, slide: LabelledSlide) -> FloatArray:
        labels = slide.expression
        if self.settings.smooth_labels:
            assert slide.inputs.array_xy is not None
            labels = smoothed(labels, slide.inputs.array_xy)
        return self._scale.inward(labels)

    def _view(self, inputs: SlideInputs, cut: _Cut | None = None) -> SlideView:
        """The views of a slide, scaled; ``cut``: its tiles where they are encoded already.

        Raises:
            DataError: the slide lacks something, or its features are not as wide as those of the training slides.
        """
        settings = self.settings
        check(inputs, settings)
        features = self._features(inputs)
        target: NDArray[np.generic] = features
        if settings.input == "patches":
            target = patch_array(inputs.patches, settings.patch_px)
        cells = grid_cells(inputs, settings)
        if settings.neighbours == "grid":
            return grid_view(inputs, target, features, cells)
        tiles, mask = self._cut(inputs) if cut is None else cut
        return tile_view(target, self._scaled_tiles(tiles), cells, mask)

    def _features(self, inputs: SlideInputs) -> FloatArray:
        expected, found = max(self.sizes_["n_target"], self.sizes_["n_context"]), inputs.features.shape[1]
        if expected == 0:
            return inputs.features
        if found != expected:
            raise DataError(
                f"slide {inputs.slide_id}: expected features {expected} wide, as in training, found {found}; use the "
                "encoder the method was fitted with"
            )
        if not self.settings.standardize_features:
            return inputs.features
        return standardized(inputs.features, self.feature_mean_, self.feature_std_)

    def _scaled_tiles(self, tiles: Tiles) -> Tiles:
        if not self.settings.standardize_features:
            return tiles
        scaled = np.empty_like(tiles)
        for row, tile in enumerate(tiles):
            scaled[row] = standardized(tile.astype(np.float32), self.tile_mean_, self.tile_std_)
        return scaled

    @torch.no_grad()
    def _predicted(self, module: TriplexNetwork, view: SlideView) -> FloatArray:
        """(N, G) fused prediction on the scale of the task; the slide is encoded once, the rest in chunks."""
        device = next(module.parameters()).device
        context, cells = torch.from_numpy(view.context).to(device), torch.from_numpy(view.cells).to(device)
        chunks = np.array_split(np.arange(view.n_spots), -(-view.n_spots // _CHUNK[self.settings.input]))
        with self.computing():
            slide = module.slide_tokens(context, cells)
            parts = [_of_spots(module, view, rows, slide) for rows in chunks]
        expression = self._scale.outward(torch.cat(parts).numpy())
        return np.maximum(expression, 0) if self.settings.clamp else expression


def _of_spots(module: TriplexNetwork, view: SlideView, rows: NDArray[np.int64], slide: Tensor) -> Tensor:
    def fused(some: slice) -> Tensor:
        mask = torch.from_numpy(view.mask[rows[some]])
        own, around, usable = (part.to(slide.device) for part in (view.own(rows[some]), view.around(rows[some]), mask))
        found: Tensor = module(own, around, usable, slide[torch.from_numpy(rows[some]).to(slide.device)]).fusion
        return found.float().cpu()

    return in_halves(fused, len(rows))


def _shortened(slide: LabelledSlide) -> LabelledSlide:
    """The first spots of a slide."""
    inputs, kept = slide.inputs, slice(0, _PROBED)
    patches = inputs.patches
    if patches is not None:
        patches = replace(patches, spot_ids=patches.spot_ids[kept], xy=patches.xy[kept], cache_dir=None)
    array = None if inputs.array_xy is None else inputs.array_xy[kept]
    short = replace(inputs, features=inputs.features[kept], xy=inputs.xy[kept], array_xy=array, patches=patches)
    return LabelledSlide(short, slide.expression[kept])
