"""Windows of several micro-steps, of one slide or of many, padded into one batch and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from stbench.methods.nn.windows import WindowBatch, real, real_rows


@dataclass(frozen=True)
class MicroBatches:
    """What goes through the network together.

    Args:
        joint: all windows, padded to the largest.
        each: the micro-steps' own batches, in order; they may have stayed on the host.
    """

    joint: WindowBatch
    each: tuple[WindowBatch, ...]

    @classmethod
    def of(cls, each: Sequence[WindowBatch]) -> MicroBatches:
        """Pad batches into one; a single one is taken as it is."""
        if len(each) == 1:
            return cls(each[0], (each[0],))
        edges = padded([batch.edges for batch in each], 2)
        mask = padded([batch.mask for batch in each])
        features = padded([batch.features for batch in each])
        known = [batch.expression for batch in each if batch.expression is not None]
        expression = padded(known) if len(known) == len(each) else None
        spots = tuple(some for batch in each for some in batch.spots)
        names = ", ".join(dict.fromkeys(batch.slide_id for batch in each))
        return cls(WindowBatch(features, edges, mask, expression, spots, names, real_rows(mask)), tuple(each))

    @property
    def places(self) -> list[tuple[slice, int]]:
        """Of each micro-step the rows in the joint batch, and the places of its own windows."""
        ends = list(accumulate(batch.shape[0] for batch in self.each))
        return [(slice(end - batch.shape[0], end), batch.shape[1]) for end, batch in zip(ends, self.each, strict=True)]

    def of_spots(self, values: Tensor) -> tuple[Tensor, ...]:
        """(S, ...) values of all real spots, by micro-step."""
        if len(self.each) == 1:
            return (values,)
        return torch.split(values, [sum(map(len, batch.spots)) for batch in self.each])

    def spot_means(self, values: Tensor) -> list[Tensor]:
        """Mean of (B, N, K) values over the real spots of each micro-step."""
        return [part.mean() for part in self.of_spots(real(values, self.joint.mask, self.joint.rows))]


def padded(parts: Sequence[Tensor], places: int = 1) -> Tensor:
    """Batches (b, n, ...) in one, (B, N, ...), with zeros; ``places`` dimensions after the first are padded."""
    if len(parts) == 1:
        return parts[0]
    size = max(part.shape[1] for part in parts)
    first = parts[0]
    whole = first.new_zeros(sum(map(len, parts)), *[size] * places, *first.shape[1 + places :])
    start = 0
    for part in parts:
        whole[(slice(start, start + len(part)), *[slice(part.shape[1])] * places)] = part
        start += len(part)
    return whole
