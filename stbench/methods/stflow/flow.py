"""The straight flow from prior to expression, and the few steps that follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stbench.errors import SettingError

T_START = 0.01


@dataclass(frozen=True)
class Refinement:
    """One step of sampling.

    Args:
        t: flow time at which the network was asked.
        state: (N, G) expression it was shown.
        clean: (N, G) clean expression it predicted; that of the last step is the sample.
    """

    t: float
    state: Tensor
    clean: Tensor


def between(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) start + t end for (N, G) expression and (N,) times."""
    return torch.lerp(start, end, t.unsqueeze(-1))


def refinement_times(steps: int) -> list[float]:
    """Times at which the network is asked: ``steps`` of them, evenly from 0.01 up to one step before 1.

    Raises:
        SettingError: fewer than one step, which would leave nothing but the prior.
    """
    if steps < 1:
        raise SettingError(f"expected refinement_steps of at least 1, found {steps}; 4 is the released number")
    return [float(t) for t in np.linspace(T_START, 1, steps + 1)[:-1]]


def refine(denoise: Callable[[Tensor, Tensor], Tensor], start: Tensor, steps: int) -> Iterator[Refinement]:
    """Euler steps along the velocity (clean - x) / (1 - t).

    Args:
        denoise: clean expression (N, G) from a state (N, G) and a time (1,).
        start: (N, G) draw from the prior.
        steps: network evaluations.

    Raises:
        SettingError: fewer than one step.
    """
    times, x = refinement_times(steps), start
    del start  # of a large slide every state counts that is held during a pass
    for t, following in zip(times, [*times[1:], 1.0], strict=True):
        clean = denoise(x, x.new_full((1,), t))
        yield Refinement(t, x, clean)
        x = x + (following - t) / (1 - t) * (clean - x)
        del clean
