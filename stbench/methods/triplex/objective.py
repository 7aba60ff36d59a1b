"""How TRIPLEX is trained: batches of spots, the global pass of their slides, the four-headed loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stbench.methods.base import FloatArray
from stbench.methods.nn.backbone import augmented
from stbench.methods.nn.sent import sent
from stbench.methods.triplex.losses import loss_terms
from stbench.methods.triplex.network import TriplexNetwork
from stbench.methods.triplex.positions import Index
from stbench.methods.triplex.settings import TriplexSettings
from stbench.methods.triplex.views import SlideView

_RECOMPUTED = 4096  # spots of a step's slides from which their global passes are computed again on the way back


@dataclass(frozen=True)
class TrainingSlide:
    """A slide and (N, G) labels on the scale of the network."""

    view: SlideView
    labels: FloatArray


class SpotBatches:
    """Batches of spots, addressed by micro-step so that a resumed run sees the same ones.

    Args:
        n_spots: spots of each slide.
        size: most spots per batch; all where there are fewer.
        one_slide: whether a batch is of one slide.
        seed: seed of the order.
    """

    def __init__(self, n_spots: Sequence[int], size: int, *, one_slide: bool, seed: int) -> None:
        self.size, self.seed = size, seed
        slides = np.repeat(np.arange(len(n_spots)), n_spots)
        rows = np.concatenate([np.arange(n) for n in n_spots])
        self.spots = np.stack([slides, rows], axis=1)
        self.groups = [np.flatnonzero(slides == slide) for slide in range(len(n_spots))]
        if not one_slide:
            self.groups = [np.arange(len(slides))]

    def __len__(self) -> int:
        return sum(self._parts(group) for group in self.groups)

    def _parts(self, group: Index) -> int:
        """Batches of a group, as equal as can be: batch normalisation needs more than one spot."""
        return -(-len(group) // self.size)

    def __getitem__(self, index: int) -> list[tuple[int, Index]]:
        """(slide, its rows) of micro-step ``index``, counted over all epochs."""
        epoch, position = divmod(index, len(self))
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = [rng.permutation(group) for group in self.groups]
        batches = [part for group in shuffled for part in np.array_split(group, self._parts(group))]
        chosen = self.spots[batches[rng.permutation(len(batches))[position]]]
        return [(int(slide), chosen[chosen[:, 0] == slide, 1]) for slide in np.unique(chosen[:, 0])]


class TriplexObjective:
    """The loss of a batch of spots; the slides of all its spots pass through the global encoder.

    Args:
        settings: batches and loss.
        slides: training slides.
        score_of: quality of a network on the validation slides.
        seed: seed of the batches.
        device: torch device.
    """

    def __init__(
        self,
        settings: TriplexSettings,
        slides: Sequence[TrainingSlide],
        score_of: Callable[[TriplexNetwork], float],
        *,
        seed: int,
        device: str,
    ) -> None:
        self.settings, self.slides, self.score_of, self.device = settings, slides, score_of, device
        sizes = [slide.view.n_spots for slide in slides]
        one_slide = settings.batch_from == "slide"
        self.batches = SpotBatches(sizes, settings.batch_windows, one_slide=one_slide, seed=seed)

    @property
    def epoch_length(self) -> int:
        """Batches of training spots."""
        return len(self.batches)

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Label and distillation terms of the four heads and their weighted sum."""
        assert isinstance(module, TriplexNetwork)
        parts = [(self.slides[slide], rows) for slide, rows in self.batches[index]]
        target = torch.cat([slide.view.own(rows) for slide, rows in parts])
        if self.settings.input == "patches" and self.settings.augment and self.settings.backbone_trained:
            target = augmented(target, generator)
        around = torch.cat([slide.view.around(rows) for slide, rows in parts])
        mask = torch.cat([torch.from_numpy(slide.view.mask[rows]) for slide, rows in parts])
        label = sent(torch.cat([torch.from_numpy(slide.labels[rows]) for slide, rows in parts]), self.device)
        heads = module(*(sent(part, self.device) for part in (target, around, mask)), self._slide_tokens(module, parts))
        if self.settings.clamp and not self.settings.standardize_genes:
            heads = heads.clamped()
        return loss_terms(heads, label, self.settings.alpha)

    def _slide_tokens(self, module: TriplexNetwork, parts: Sequence[tuple[TrainingSlide, Index]]) -> Tensor:
        """(B, D) tokens of the batch's spots, each slide encoded once and as a whole."""
        long = sum(slide.view.n_spots for slide, _ in parts) > _RECOMPUTED and len(parts) > 1
        found = []
        for slide, rows in parts:
            context, cells = sent(torch.from_numpy(slide.view.context), self.device), torch.from_numpy(slide.view.cells)
            encoded = (
                checkpoint(module.slide_tokens, context, cells, use_reentrant=False)
                if long
                else module.slide_tokens(context, cells)
            )
            found.append(encoded[sent(torch.from_numpy(rows), self.device)])
        return torch.cat(found)

    def score(self, module: nn.Module) -> float:
        """What ``score_of`` gives."""
        assert isinstance(module, TriplexNetwork)
        return self.score_of(module)
