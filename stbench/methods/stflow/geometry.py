"""Neighbourhoods of a slide: who attends to whom, and where a neighbour lies whichever way the slide is turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from stbench.methods.nn.sent import sent

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_SPARE = 6  # candidates beyond twice k: the largest ring of a square or hexagonal grid that can tie at small k


@dataclass(frozen=True)
class Side:
    """Spots that are looked at in one kind of frame, and how much that counts.

    Args:
        rows: (n,) of a graph.
        share: (n, 1, 1) above 0.
    """

    rows: Tensor
    share: Tensor


@dataclass(frozen=True)
class SpotGraph:
    """Neighbours of N spots, of one slide or of several one after the other; edges never leave a slide.

    Args:
        neighbours: (N, K) rows of the neighbours, nearest first; any row where ``weight`` is 0.
        weight: (N, K) share in the attention, from 0 (no neighbour) to 1.
        distance: (N, K) in pixels.
        frame: (N, K, 2) position along the neighbourhood's minor and major axis, from its centre, in pixels; the sign
            of either axis is arbitrary.
        axes: (N,) how far the axes are to be trusted, from 0 (round neighbourhood) to 1; it stays on the CPU, which
            has to know which of them are to be trusted at all.
        slide: (N,) number of the slide in the batch.
        elongated: spots whose axes are trusted, looked up here so that a pass looks for nothing.
        round: those whose axes are not fully trusted.
    """

    neighbours: Tensor
    weight: Tensor
    distance: Tensor
    frame: Tensor
    axes: Tensor
    slide: Tensor
    elongated: Side = field(init=False)
    round: Side = field(init=False)

    def __post_init__(self) -> None:
        for name, share in (("elongated", self.axes), ("round", 1 - self.axes)):
            rows = share.nonzero().flatten()
            found = Side(*(sent(part, self.frame.device) for part in (rows, share[rows, None, None])))
            object.__setattr__(self, name, found)

    def __len__(self) -> int:
        return len(self.neighbours)

    @property
    def width(self) -> int:
        """K."""
        return self.neighbours.shape[1]

    def rows(self, start: int, stop: int) -> SpotGraph:
        """Some spots alone; their neighbours still count rows of the whole."""
        if start == 0 and stop >= len(self):
            return self
        return SpotGraph(**{name: tensor[start:stop] for name, tensor in self._given().items()})

    def to(self, device: str | torch.device) -> SpotGraph:
        """The graph on a device, but for the axes."""
        parts = {name: sent(tensor, device) for name, tensor in self._given().items() if name != "axes"}
        return SpotGraph(**parts, axes=self.axes)

    def _given(self) -> dict[str, Tensor]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}


@dataclass(frozen=True)
class GraphRule:
    """How a graph is made.

    Args:
        neighbours: k.
        ties: ``"shared"``: every spot counts that is as near as the k-th neighbour, and weights fall smoothly to 0 over
            ``tie_width`` beyond it, so that no neighbour appears or vanishes at once; ``"index"``: exactly k, by
            distance and then by row.
        tie_width: in units of the slide's median distance to the k-th neighbour.
        frames: ``"blended"`` or ``"axes"``, see :attr:`SpotGraph.axes`; ``"axes"`` trusts them everywhere.
        frame_gap: difference of the scatter's eigenvalues over their sum from which the axes are trusted fully.
    """

    neighbours: int
    ties: str = "shared"
    tie_width: float = 0.1
    frames: str = "blended"
    frame_gap: float = 0.02


def build_graph(xy: NDArray[Any], rule: GraphRule) -> SpotGraph:
    """The graph of one slide, in memory linear in its spots.

    A slide with no more than k spots has fewer neighbours; a single spot has none (K = 0).

    Args:
        xy: (N, 2) spot centres in pixels.
        rule: how neighbours and axes are found.
    """
    places = np.asarray(xy, dtype=np.float64)
    k = min(rule.neighbours, len(places) - 1)
    index, distance = _candidates(places, k, 2 * k + _SPARE if k else 0)  # (N, c)
    weight = _shared(distance, k, rule.tie_width) if rule.ties == "shared" else np.ones_like(distance)
    used = int((weight > 0).sum(axis=1).max(initial=0)) if rule.ties == "shared" else k
    index, distance, weight = index[:, :used], distance[:, :used], weight[:, :used]  # (N, K)
    frame, elongation = _frames(places[index] - places[:, None], weight)  # (N, K, 2), (N,)
    trusted = np.ones(len(places)) if rule.frames == "axes" else _smooth(elongation / rule.frame_gap)
    w, d, f, a = (torch.from_numpy(values.astype(np.float32)) for values in (weight, distance, frame, trusted))
    return SpotGraph(torch.from_numpy(index), w, d, f, a, torch.zeros(len(places), dtype=torch.int64))


def join(graphs: Sequence[SpotGraph]) -> SpotGraph:
    """Several slides as one graph without edges between them."""
    width = max(graph.width for graph in graphs)
    starts = np.cumsum([0, *(len(graph) for graph in graphs[:-1])])
    parts = [_moved(graph, int(starts[number]), number, width)._given() for number, graph in enumerate(graphs)]
    return SpotGraph(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _moved(graph: SpotGraph, start: int, number: int, width: int) -> SpotGraph:
    extra = width - graph.width
    flat = torch.nn.functional.pad
    return SpotGraph(
        flat(graph.neighbours, (0, extra)) + start,  # a padded entry points into its own slide and weighs nothing
        flat(graph.weight, (0, extra)),
        flat(graph.distance, (0, extra)),
        flat(graph.frame, (0, 0, 0, extra)),
        graph.axes,
        graph.slide + number,
    )


def _candidates(places: Array, k: int, most: int) -> tuple[Index, Array]:
    """(N, c) rows of the nearest other spots by distance, then by row, and their distances; c at least k."""
    n = len(places)
    if k == 0:
        return np.zeros((n, 0), dtype=np.int64), np.zeros((n, 0))
    count = min(most + 1, n)
    distance, index = (np.asarray(found) for found in cKDTree(places).query(places, k=count))
    itself = index == np.arange(n)[:, None]
    itself[~itself.any(axis=1), -1] = True  # among more coincident spots than asked for
    index, distance = index[~itself].reshape(n, -1).astype(np.int64), distance[~itself].reshape(n, -1)
    order = np.lexsort((index, distance), axis=-1)
    return np.take_along_axis(index, order, axis=1), np.take_along_axis(distance, order, axis=1)


def _shared(distance: Array, k: int, tie_width: float) -> Array:
    """(N, c) weights that are a continuous function of the positions."""
    if k == 0:
        return np.ones_like(distance)
    beyond = distance - distance[:, k - 1 : k]  # (N, c)
    fall = tie_width * np.median(distance[:, k - 1])
    return _smooth(1 - beyond / fall) if fall > 0 else (beyond <= 0).astype(np.float64)


def _smooth(x: Array) -> Array:
    """From 0 at 0 to 1 at 1 with slope 0 at both ends, where exact grids lie: small shifts then count squared."""
    s = np.clip(x, 0, 1)
    return s * s * (3 - 2 * s)


def _frames(offsets: Array, weight: Array) -> tuple[Array, Array]:
    """(N, K, 2) centred offsets along minor and major axis, and (N,) elongation from 0 (round) to 1 (a line)."""
    total = np.maximum(weight.sum(axis=1), 1e-300)[:, None]  # (N, 1)
    centred = offsets - ((weight[..., None] * offsets).sum(axis=1) / total)[:, None]  # (N, K, 2)
    x, y = centred[..., 0], centred[..., 1]  # (N, K)
    xx, yy, xy = ((weight * product).sum(axis=1) for product in (x * x, y * y, x * y))  # (N,)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)[:, None]  # (N, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    frame = np.stack([cos * y - sin * x, cos * x + sin * y], axis=-1)  # (N, K, 2)
    trace = xx + yy
    return frame, np.hypot(xx - yy, 2 * xy) / np.where(trace > 0, trace, 1)
