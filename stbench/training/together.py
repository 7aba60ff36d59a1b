"""Micro-steps of an update that share a pass through the device: how many, and the random numbers each keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

_SHARE = 0.7  # of the memory that is free; the rest is for what grows otherwise than was reckoned


class MicroBatch(Protocol):
    """What a micro-step trains on, still on the host."""

    @property
    def shape(self) -> tuple[int, int]:
        """Windows, and places of the largest."""


@runtime_checkable
class TogetherObjective(Protocol):
    """An objective whose micro-steps may share a pass; it is an :class:`stbench.training.loop.Objective` too."""

    def micro_batch(self, index: int) -> MicroBatch:
        """What micro-step ``index`` trains on."""

    def losses_together(
        self, module: nn.Module, batches: Sequence[MicroBatch], generator: torch.Generator
    ) -> list[dict[str, Tensor]]:
        """Loss terms of each micro-step, from one pass; its noise is drawn from ``generator`` in their order."""


Batch = TypeVar("Batch", bound=MicroBatch)


class PassBudget:
    """How many micro-steps a pass may hold.

    Args:
        load: of a pass, that of the first micro-step being 1; None to learn it from what passes take of the device's
            memory, the first of which has one micro-step.
    """

    def __init__(self, load: float | None = None) -> None:
        self.load = load
        self._learns = load is None
        self._unit: tuple[int, int] | None = None  # shape of a pass whose load is 1
        self._most = 0  # micro-steps in a pass of this update

    def passes(self, batches: Iterable[Batch]) -> Iterator[list[Batch]]:
        """Neighbours that may go together, each batch once and in order."""
        waiting: list[Batch] = []
        self._most = 1
        for batch in batches:
            self._unit = self._unit or batch.shape
            if waiting and not self._fits([*waiting, batch]):
                yield waiting
                waiting = []
            waiting.append(batch)
            self._most = max(self._most, len(waiting))
        yield waiting

    def weigh(self, batches: Sequence[MicroBatch], taken: int, spare: int) -> None:
        """Learn from a pass larger than all before: bytes that it took, and bytes that are free without it."""
        shape = _joint(batches)
        if self._learns and (self.load is None or self._times(shape) > 1):
            self._unit, self.load = shape, _SHARE * spare / max(taken, 1)

    def halve(self) -> bool:
        """Let half as much through from now on; False where passes hold a single micro-step."""
        if self.load is None or self._most < 2:
            return False
        self._learns = False
        self.load /= 2
        return True

    def _fits(self, batches: Sequence[Batch]) -> bool:
        return self.load is not None and self._times(_joint(batches)) <= self.load

    def _times(self, shape: tuple[int, int]) -> float:
        """How much more a pass takes than the unit: states grow with the places of all windows or with their pairs."""
        assert self._unit is not None
        (windows, size), (unit_windows, unit_size) = shape, self._unit
        return windows * size / (unit_windows * unit_size) * max(1.0, size / unit_size)


def _joint(batches: Sequence[MicroBatch]) -> tuple[int, int]:
    return sum(batch.shape[0] for batch in batches), max(batch.shape[1] for batch in batches)


@dataclass(frozen=True)
class Part:
    """One micro-step's place in a batch of several.

    Args:
        windows: its rows.
        size: places of a window, padding to the others of the batch left out.
        chance: its random numbers, on the device.
    """

    windows: slice
    size: int
    chance: torch.Generator


def parts_of(batches: Sequence[MicroBatch], chances: Sequence[torch.Generator]) -> list[Part]:
    """Where micro-steps lie in the batch that holds them all, each with its random numbers."""
    parts, start = [], 0
    for batch, chance in zip(batches, chances, strict=True):
        windows, size = batch.shape
        parts.append(Part(slice(start, start + windows), size, chance))
        start += windows
    return parts


class _Way:
    """What is on its way through the network; a ContextVar would take a compiled graph apart."""

    parts: tuple[Part, ...] | None = None


@contextmanager
def apart(parts: Sequence[Part]) -> Iterator[None]:
    """Dropout inside the block takes the numbers of each part from that part, whatever shares its pass."""
    before, _Way.parts = _Way.parts, tuple(parts)
    try:
        yield
    finally:
        _Way.parts = before


def parts_of_batch() -> tuple[Part, ...] | None:
    """The parts of the batch that is on its way, None where all of it is one."""
    return _Way.parts
