"""Patch sets: neighbouring spots around a random one, what STFlow trains on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from stbench.methods.base import FloatArray, LabelledSlide
from stbench.methods.nn.sent import sent
from stbench.methods.stflow.geometry import GraphRule, SpotGraph, build_graph, join

_FEWEST = 2  # spots of a set, as released


@dataclass(frozen=True)
class SetBatch:
    """Patch sets one after the other, without padding.

    Args:
        features: (N, F).
        expression: (N, G).
        graph: neighbours inside each set.
        n_sets: number of sets.
    """

    features: Tensor
    expression: Tensor
    graph: SpotGraph
    n_sets: int

    def to(self, device: str) -> SetBatch:
        """The sets on a device."""
        features, expression = sent(self.features, device), sent(self.expression, device)
        return SetBatch(features, expression, self.graph.to(device), self.n_sets)


class PatchSets:
    """Patch sets of the training slides, addressed by micro-step so that a resumed run sees the same ones.

    An epoch visits every slide ``visits`` times, slide after slide. A visit draws u from U(0, 1) and takes the
    max(2, floor(u N)) spots nearest to a random spot of the slide.

    Args:
        slides: labelled slides.
        features: (N, F) features of each slide as the network sees them.
        rule: how neighbours are found, among the spots of a set alone.
        batch: sets per micro-step.
        visits: sets of every slide in an epoch.
        most: most spots of a set, None for all of the slide.
        seed: seed of sizes and centres.
    """

    def __init__(
        self,
        slides: Sequence[LabelledSlide],
        features: Sequence[FloatArray],
        rule: GraphRule,
        *,
        batch: int,
        visits: int,
        most: int | None,
        seed: int,
    ) -> None:
        self.slides, self.features, self.rule = slides, features, rule
        self.batch, self.visits, self.most, self.seed = batch, visits, most, seed
        self._trees = [cKDTree(slide.inputs.xy) for slide in slides]

    def __len__(self) -> int:
        return math.ceil(self.visits * len(self.slides) / self.batch)

    def __getitem__(self, index: int) -> SetBatch:
        """The batch of micro-step ``index``, counted over all epochs."""
        epoch, position = divmod(index, len(self))
        last = self.visits * len(self.slides)
        visits = range(position * self.batch, min((position + 1) * self.batch, last))
        chosen = [(visit % len(self.slides), self._spots(epoch, visit)) for visit in visits]
        features = np.concatenate([self.features[number][spots] for number, spots in chosen])
        expression = np.concatenate([self.slides[number].expression[spots] for number, spots in chosen])
        graph = join([build_graph(self.slides[number].inputs.xy[spots], self.rule) for number, spots in chosen])
        return SetBatch(torch.from_numpy(features), torch.from_numpy(expression), graph, len(chosen))

    def _spots(self, epoch: int, visit: int) -> NDArray[np.int64]:
        """Rows of the spots of a set, in the order of the slide."""
        number = visit % len(self.slides)
        xy = self.slides[number].inputs.xy
        generator = np.random.default_rng([self.seed, epoch, visit])
        most = min(self.most or len(xy), len(xy))
        size = min(max(_FEWEST, int(generator.random() * most)), most)
        _, spots = self._trees[number].query(xy[generator.integers(len(xy))], k=[*range(1, size + 1)])
        return np.sort(spots)
