"""Slides as padded batches of windows, for every method whose spots talk within a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stbench.features.graph import edge_attributes, windows
from stbench.methods.base import FloatArray, LabelledSlide, SlideInputs
from stbench.methods.nn.sent import sent

SpotIndex = NDArray[np.int64]


class Rows(Protocol):
    """(n_spots, d) features of which only the rows asked for need exist; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_spots, d)."""

    def __getitem__(self, rows: SpotIndex, /) -> FloatArray: ...


@dataclass(frozen=True)
class WindowBatch:
    """Windows padded to the largest one.

    Args:
        features: (B, N, d) standardised image features.
        edges: (B, N, N, 2) distance kernel and cosine of the features, Eqs. 58-59; zero diagonal.
        mask: (B, N) True for real spots.
        expression: (B, N, G) on the task's scale; at prediction None, except for oracles.
        spots: for each window, the rows of its slide.
        slide_id: the slide all windows are of.
        rows: (S,) places of the real spots among the B N of the mask, so that no device is asked for them; None where
            they have to be read off the mask.
    """

    features: Tensor
    edges: Tensor
    mask: Tensor
    expression: Tensor | None
    spots: tuple[SpotIndex, ...]
    slide_id: str
    rows: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Windows, and places of each."""
        return len(self.spots), self.mask.shape[1]

    def to(self, device: str) -> WindowBatch:
        """The windows on a device."""
        features, edges, mask = (sent(tensor, device) for tensor in (self.features, self.edges, self.mask))
        expression, rows = (None if part is None else sent(part, device) for part in (self.expression, self.rows))
        return replace(self, features=features, edges=edges, mask=mask, expression=expression, rows=rows)

    def with_features(self, features: Tensor) -> WindowBatch:
        """The same windows with other features; the edge condition stays."""
        return replace(self, features=features)

    def repeated(self, times: int) -> WindowBatch:
        """All windows, then all of them again, ``times`` in all."""
        if times == 1:
            return self
        features, edges, mask = (torch.cat([part] * times) for part in (self.features, self.edges, self.mask))
        expression = None if self.expression is None else torch.cat([self.expression] * times)
        rows = None
        if self.rows is not None:
            rows = torch.cat([self.rows + k * self.mask.numel() for k in range(times)])
        return WindowBatch(features, edges, mask, expression, self.spots * times, self.slide_id, rows)

    def part(self, some: slice) -> WindowBatch:
        """Some of the windows, padded as they are."""
        spots = self.spots[some]
        if len(spots) == len(self.spots):
            return self
        expression = None if self.expression is None else self.expression[some]
        features, edges, mask = self.features[some], self.edges[some], self.mask[some]
        return WindowBatch(features, edges, mask, expression, spots, self.slide_id)


@dataclass(frozen=True)
class WindowGeometry:
    """How spots become a graph.

    Args:
        window_px: side of a window in full-resolution pixels.
        sigma_px: width of the distance kernel in full-resolution pixels, Eq. 58.
        channels: edge channels kept; the others are set to zero (Table 14).
        most_spots: of a window of the grid; None for any number.
    """

    window_px: float
    sigma_px: float
    channels: str = "both"
    most_spots: int | None = None

    def grid(self, xy: FloatArray) -> list[SpotIndex]:
        """Spots of every window of a slide's grid, see :func:`stbench.features.graph.windows`."""
        return windows(xy, self.window_px, self.most_spots)


def collate(
    slide: SlideInputs,
    features: Rows,
    chosen: Sequence[SpotIndex],
    geometry: WindowGeometry,
    expression: FloatArray | None = None,
) -> WindowBatch:
    """Pad windows of one slide into a batch.

    Args:
        slide: the slide.
        features: (n_spots, d) features as the network sees them; they give the cosine channel too.
        chosen: rows of the spots of each window.
        geometry: kernel width and channels.
        expression: (n_spots, G) or None.
    """
    size = max(len(spots) for spots in chosen)
    batch = len(chosen)
    nodes = torch.zeros(batch, size, features.shape[1])
    edges = torch.zeros(batch, size, size, 2)
    mask = torch.zeros(batch, size, dtype=torch.bool)
    target = None if expression is None else torch.zeros(batch, size, expression.shape[1])
    for row, spots in enumerate(chosen):
        n = len(spots)
        seen = features[spots]
        nodes[row, :n] = torch.from_numpy(seen)
        edges[row, :n, :n] = _edges(slide.xy[spots], seen, geometry)
        mask[row, :n] = True
        if target is not None and expression is not None:
            target[row, :n] = torch.from_numpy(expression[spots])
    return WindowBatch(nodes, edges, mask, target, tuple(chosen), slide.slide_id, real_rows(mask))


def real_rows(mask: Tensor) -> Tensor:
    """(S,) places of the real spots among the B N of a mask (B, N); on a device, the host waits for it."""
    return mask.flatten().nonzero().flatten()


def real(values: Tensor, mask: Tensor, rows: Tensor | None) -> Tensor:
    """(S, K) values (B, N, K) of the real spots, at the places ``rows``; these are read off the mask if None."""
    return values.flatten(0, 1).index_select(0, real_rows(mask) if rows is None else rows)


def _edges(xy: FloatArray, features: FloatArray, geometry: WindowGeometry) -> Tensor:
    edges = torch.as_tensor(edge_attributes(xy, features, geometry.sigma_px))
    if geometry.channels in ("distance", "none"):
        edges[..., 1] = 0
    if geometry.channels in ("histology", "none"):
        edges[..., 0] = 0
    return edges


def grid_batches(slide: SlideInputs, features: Rows, geometry: WindowGeometry, max_spots: int) -> Iterator[WindowBatch]:
    """The grid windows of a slide, in batches of at most ``max_spots`` padded spots (one window at least)."""
    pending: list[SpotIndex] = []
    for spots in sorted(geometry.grid(slide.xy), key=len):
        if pending and len(spots) * (len(pending) + 1) > max_spots:
            yield collate(slide, features, pending, geometry, slide.oracle_expression)
            pending = []
        pending.append(spots)
    yield collate(slide, features, pending, geometry, slide.oracle_expression)


class TrainingWindows:
    """Windows of the training slides, addressed by micro-step so that a resumed run sees the same ones.

    Args:
        slides: labelled slides.
        features: standardised features of each slide.
        geometry: window side, kernel width, channels.
        batch: windows per micro-step, all of one slide.
        sampling: ``"grid"`` visits the fixed grid once an epoch in random order (the paper's windows);
            ``"random"`` centres each window on a random spot, so that borders move.
        seed: seed of the order.
        most_spots: random windows keep the spots nearest their centre, at most this many; None keeps all.
    """

    def __init__(
        self,
        slides: Sequence[LabelledSlide],
        features: Sequence[Rows],
        geometry: WindowGeometry,
        *,
        batch: int,
        sampling: str,
        seed: int,
        most_spots: int | None = None,
    ) -> None:
        self.slides, self.features, self.geometry = slides, features, geometry
        self.batch, self.sampling, self.seed, self.most_spots = batch, sampling, seed, most_spots
        grids = [geometry.grid(slide.inputs.xy) for slide in slides]
        self._groups = [(s, grid[k : k + batch]) for s, grid in enumerate(grids) for k in range(0, len(grid), batch)]
        self._weights = np.array([slide.inputs.n_spots for slide in slides], dtype=float)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> WindowBatch:
        """The batch of micro-step ``index``, counted over all epochs."""
        epoch, position = divmod(index, len(self))
        if self.sampling == "grid":
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
            slide, chosen = self._groups[order[position]]
        else:
            slide, chosen = self._random(np.random.default_rng([self.seed, epoch, position]))
        labelled = self.slides[slide]
        return collate(labelled.inputs, self.features[slide], chosen, self.geometry, labelled.expression)

    def _random(self, rng: np.random.Generator) -> tuple[int, list[SpotIndex]]:
        slide = int(rng.choice(len(self.slides), p=self._weights / self._weights.sum()))
        xy = self.slides[slide].inputs.xy
        half = self.geometry.window_px / 2
        centres = xy[rng.integers(len(xy), size=self.batch)] + rng.uniform(-half, half, size=(self.batch, 2)) / 2
        return slide, [self._around(xy, centre, half) for centre in centres]

    def _around(self, xy: FloatArray, centre: NDArray[np.float64], half: float) -> SpotIndex:
        """Rows of the spots in the square around a centre, in the order of the slide."""
        inside = np.flatnonzero(np.abs(xy - centre).max(axis=1) <= half)
        if self.most_spots is None or len(inside) <= self.most_spots:
            return inside
        gaps = np.square(xy[inside] - centre).sum(axis=1)
        return np.sort(inside[np.argsort(gaps, kind="stable")[: self.most_spots]])
