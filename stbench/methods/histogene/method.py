"""HisToGene as a method of the harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs
from stbench.methods.histogene.network import HisToGeneNetwork
from stbench.methods.histogene.positions import (
    Positions,
    check_rows,
    grid_positions,
    nearest_seen,
    seen_positions,
    without_array,
)
from stbench.methods.histogene.released import Input, released_settings, released_sizes, take_released
from stbench.methods.histogene.settings import PIXELS, HisToGeneSettings
from stbench.methods.nn.backbone import augmented
from stbench.methods.nn.released import released_state
from stbench.methods.nn.scaling import Scale, gene_moments
from stbench.methods.nn.sent import sent
from stbench.methods.nn.spot_input import SpotReader, Spots, input_moments, why_unreadable
from stbench.methods.trained import TrainedMethod, lent
from stbench.training.scores import mean_slide_correlation


class HisToGene(TrainedMethod):
    """HisToGene (bioRxiv 2021.11.28.470212): every spot of a slide is a token of image and array position.

    Position tables have as many rows as training and validation slides need. Where a slide has a position that no
    training slide has, within the table or beyond it, the nearest trained row stands in (``unseen_positions``).
    """

    Settings = HisToGeneSettings
    settings: HisToGeneSettings
    module_: HisToGeneNetwork
    gene_mean_: FloatArray
    gene_std_: FloatArray
    feature_mean_: FloatArray
    feature_std_: FloatArray
    seen_x_: Positions  # (k,) sorted
    seen_y_: Positions
    balance_: list[float]  # spread of positions over spread of image tokens, before and after training

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes``, ``n_features``, ``n_x`` and ``n_y``."""
        return HisToGeneNetwork(self.settings, **sizes)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """(1, n_spots, G) on the scale of the training expression.

        Raises:
            DataError: the slide lacks what the method reads, or lies beyond the tables of positions.
        """
        return self.predict_read(self.reader(inputs), self._rows(inputs))[None]

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """Slides without array positions or without the input that the settings name."""
        slides = [*(slide.inputs for slide in train), *test]
        if self.settings.positions == "array":
            for inputs in slides:
                if inputs.array_xy is None:
                    return without_array(inputs)
        backbone = None if self.settings.backbone == PIXELS else self.settings.backbone
        return why_unreadable(self.settings, backbone, slides)

    @property
    def reader(self) -> SpotReader:
        """Reads spots as the network wants them."""
        return SpotReader(self.settings, self.feature_mean_, self.feature_std_, self.module_.image_encoder)

    @property
    def _scale(self) -> Scale:
        return Scale(self.gene_mean_, self.gene_std_, standardized=self.settings.standardize_targets)

    def _rows(self, inputs: SlideInputs) -> Positions:
        """(n_spots, 2) rows of the position tables.

        Raises:
            DataError: no array positions, or one beyond the table under ``unseen_positions=initial``.
        """
        positions = grid_positions(inputs, self.settings.positions)
        if self.settings.unseen_positions == "nearest":
            seen = (self.seen_x_, self.seen_y_)
            positions = np.stack([nearest_seen(positions[:, axis], seen[axis]) for axis in (0, 1)], axis=1)
        check_rows(inputs, positions, (self.sizes_["n_x"], self.sizes_["n_y"]))
        return positions

    @torch.no_grad()
    def predict_read(self, spots: Spots, rows: Positions) -> FloatArray:
        """(n, G) expression of a slide that has been read."""
        device = self.module_.patch_embedding.weight.device
        with self.computing():
            found = self.module_(batched(spots, device), batched(rows, device))
        return self._scale.outward(found[0].float().cpu().numpy())

    def _prepare(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> HisToGeneObjective:
        self.gene_mean_, self.gene_std_ = gene_moments(train)
        self.feature_mean_, self.feature_std_ = input_moments(self.settings, train)
        tables = self._table_sizes(train, validation)
        self._new_module(context, n_genes=context.n_genes, n_features=len(self.feature_mean_), **tables)
        if self.module_.image_encoder is not None:
            self.module_.image_encoder.start(self.settings.backbone_weights, self.settings.patch_px)
        slides = [self._read(slide) for slide in train]
        self._set_balance(slides)
        return HisToGeneObjective(self, slides, [self._read(slide) for slide in validation], context)

    def _take(self, state: Mapping[str, Tensor], where: str) -> None:
        take_released(self.module_, state, where)

    def _conclude(self, objective: HisToGeneObjective) -> str:
        if self.settings.weights is not None:
            return ""
        self.balance_ = [self.balance_[0], self._balance(objective.train)]
        return f"positions over image tokens {self.balance_[0]:.3g} at the start, {self.balance_[1]:.3g} now"

    def _table_sizes(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide]) -> dict[str, int]:
        """Rows of the tables, and the positions that training slides have."""
        source = self.settings.positions
        positions = [grid_positions(slide.inputs, source) for slide in train]
        self.seen_x_, self.seen_y_ = seen_positions(positions)
        every = np.concatenate(positions + [grid_positions(slide.inputs, source) for slide in validation])
        rows = self.settings.table_rows
        n_x, n_y = (int(largest) + 1 if rows is None else rows for largest in every.max(axis=0))
        for slide, found in zip(train, positions, strict=True):
            check_rows(slide.inputs, found, (n_x, n_y))
        return {"n_x": n_x, "n_y": n_y}

    def _read(self, slide: LabelledSlide) -> ReadSlide:
        target = self._scale.inward(slide.expression)
        return ReadSlide(self.reader(slide.inputs), self._rows(slide.inputs), target, slide.expression)

    def _set_balance(self, slides: Sequence[ReadSlide]) -> None:
        """Bring the spread of positions to the asked multiple of that of image tokens."""
        found, asked = self._balance(slides), self.settings.position_balance
        if asked is not None and found > 0:
            with torch.no_grad():
                for table in (self.module_.x_embed, self.module_.y_embed):
                    table.weight.mul_(asked / found)
            found = asked
        self.balance_ = [found]

    @torch.no_grad()
    def _balance(self, slides: Sequence[ReadSlide]) -> float:
        """Spread of position tokens over spread of image tokens; 0 where image tokens do not vary.

        The spread is the standard deviation over the training spots, its square averaged over channels: what all
        spots have in common tells none apart.
        """
        module, device = self.module_, self.module_.patch_embedding.weight.device
        image = torch.cat([module.image_tokens(batched(slide.spots, device))[0] for slide in slides])
        position = torch.cat([module.position_tokens(batched(slide.rows, device))[0] for slide in slides])
        spread = [float(tokens.float().var(dim=0, correction=0).mean().sqrt()) for tokens in (position, image)]
        return spread[0] / spread[1] if spread[1] > 0 else 0.0


@dataclass(frozen=True)
class ReadSlide:
    """A labelled slide as the network wants it.

    Args:
        spots: (n, d) vectors or (n, P, P, 3) patches.
        rows: (n, 2) rows of the position tables.
        target: (n, G) expression on the network's scale.
        expression: (n, G) expression on the task's scale.
    """

    spots: Spots
    rows: Positions
    target: FloatArray
    expression: FloatArray


class HisToGeneObjective:
    """Mean squared error over spots and genes of one whole slide per micro-step.

    Args:
        method: the method being fitted.
        train: training slides.
        validation: validation slides.
        context: seed and device.
    """

    def __init__(
        self, method: HisToGene, train: Sequence[ReadSlide], validation: Sequence[ReadSlide], context: Context
    ) -> None:
        self.method, self.train, self.validation, self.context = method, train, validation, context

    @property
    def epoch_length(self) -> int:
        """Training slides."""
        return len(self.train)

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of one slide, on the network's scale."""
        epoch, place = divmod(index, len(self.train))
        order = np.random.default_rng([self.context.seed, epoch]).permutation(len(self.train))
        slide = self._thinned(self.train[order[place]], generator)
        device = torch.device(self.context.device)
        spots = batched(slide.spots, device)
        if self.method.settings.augment and spots.dtype == torch.uint8:
            spots = augmented(spots[0], generator).unsqueeze(0)
        predicted = module(spots, batched(slide.rows, device)).float()
        return {"total": nn.functional.mse_loss(predicted, batched(slide.target, device))}

    def _thinned(self, slide: ReadSlide, generator: torch.Generator) -> ReadSlide:
        """The slide, or ``most_spots`` of its spots."""
        n, most = len(slide.rows), self.method.settings.most_spots
        if most is None or n <= most:
            return slide
        kept = torch.randperm(n, generator=generator)[:most].sort().values.numpy()
        return ReadSlide(slide.spots[kept], slide.rows[kept], slide.target[kept], slide.expression[kept])

    def score(self, module: nn.Module) -> float:
        """Mean PCC over validation slides."""
        with lent(self.method, module):
            return mean_slide_correlation(
                (slide.expression, self.method.predict_read(slide.spots, slide.rows)) for slide in self.validation
            )


def batched(array: Spots, device: torch.device) -> Tensor:
    """A slide's array as a batch of one on a device; copied, as arrays mapped from a file cannot be written."""
    return sent(torch.from_numpy(np.array(array)).unsqueeze(0), device)


def load_official(source: Path | str | Mapping[str, Tensor], *, input: Input = "patches") -> HisToGene:
    """A method that computes what a released checkpoint computes.

    Args:
        source: safetensors or torch file (tensors only), or a state dict.
        input: what the checkpoint's patch embedding reads: pixels of P x P patches, or vectors used as they are.

    Returns:
        A fitted method whose genes are in the order of the checkpoint's.

    Raises:
        DataError: the file cannot be read, or an entry is missing, unexpected or misshapen; names all of them.
    """
    state, where = released_state(source)
    method = HisToGene(released_settings(state, input, where))
    method._new_module(Context(()), **released_sizes(state, input))
    take_released(method.module_, state, where)
    method.module_.eval()
    _fill_statistics(method)
    return method


def _fill_statistics(method: HisToGene) -> None:
    """A released checkpoint holds no statistics and needs none: everything is read as it is."""
    sizes = method.sizes_
    method.gene_mean_ = np.zeros(sizes["n_genes"], dtype=np.float32)
    method.gene_std_ = np.ones(sizes["n_genes"], dtype=np.float32)
    method.feature_mean_ = np.zeros(sizes["n_features"], dtype=np.float32)
    method.feature_std_ = np.ones(sizes["n_features"], dtype=np.float32)
    method.seen_x_, method.seen_y_ = np.arange(sizes["n_x"]), np.arange(sizes["n_y"])
    method.balance_ = []
