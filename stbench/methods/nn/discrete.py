"""Noise schedules of discrete steps and their respacing (DDPM), in float64 and free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BETAS = (1e-4, 0.02)  # first and last of 1000 steps
_DDIM = "ddim"


@dataclass(frozen=True)
class Schedule:
    """x_k = sqrt(alpha_bar_k) x_0 + sqrt(1 - alpha_bar_k) noise for steps k = 0 (hardly noisy) to K - 1.

    Args:
        betas: (K,) variance added by each step.
        steps: (K,) number of each step in the schedule the network was trained on.
    """

    betas: Array
    steps: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alpha_bar(self) -> Array:
        """(K,) share of the clean variance left after each step."""
        return np.asarray(np.cumprod(1 - self.betas), dtype=np.float64)

    @cached_property
    def alpha_bar_before(self) -> Array:
        """(K,) the same one step earlier; 1 before the first."""
        return np.append(1.0, self.alpha_bar[:-1])

    @cached_property
    def posterior_variance(self) -> Array:
        """(K,) variance of q(x_{k-1} | x_k, x_0), 0 at the first step."""
        return self.betas * (1 - self.alpha_bar_before) / (1 - self.alpha_bar)

    @cached_property
    def posterior_log_variance(self) -> Array:
        """(K,) its logarithm, the first entry replaced by the second (by that of beta where there is no second)."""
        later = self.posterior_variance[1:]
        return np.log(np.append(later[:1] if len(later) else self.betas[:1], later))

    @cached_property
    def clean_weight(self) -> Array:
        """(K,) weight of x_0 in the mean of q(x_{k-1} | x_k, x_0)."""
        return self.betas * np.sqrt(self.alpha_bar_before) / (1 - self.alpha_bar)

    @cached_property
    def noisy_weight(self) -> Array:
        """(K,) weight of x_k in that mean."""
        return (1 - self.alpha_bar_before) * np.sqrt(1 - self.betas) / (1 - self.alpha_bar)


def linear_schedule(steps: int = 1000) -> Schedule:
    """Betas from 1e-4 to 0.02 for 1000 steps; for another number both ends are multiplied by 1000 / steps."""
    first, last = (1000 / steps * beta for beta in _BETAS)
    return Schedule(np.linspace(first, last, steps, dtype=np.float64), np.arange(steps))


def respaced(schedule: Schedule, spacing: str) -> Schedule:
    """The schedule of fewer steps whose alpha_bar is that of the steps kept.

    Args:
        schedule: the schedule of training.
        spacing: as for :func:`kept_steps`.

    Raises:
        ValueError: as :func:`kept_steps`.
    """
    kept = kept_steps(spacing, len(schedule))
    left = schedule.alpha_bar[kept]
    return Schedule(1 - left / np.append(1.0, left[:-1]), schedule.steps[kept])


def kept_steps(spacing: str, total: int) -> NDArray[np.int64]:
    """Steps that a spacing keeps, in rising order.

    Args:
        spacing: ``"n"`` keeps n steps, the first and the last among them; ``"a,b,c"`` cuts the schedule into equal
            sections and keeps that many of each; ``"ddimN"`` keeps the multiples of the smallest whole stride that
            gives N.
        total: steps of the whole schedule.

    Raises:
        ValueError: not of these forms, 0 steps, more steps than there are, or no stride gives N; says which.
    """
    text = spacing.strip()
    counts = [_count(part, spacing) for part in text.removeprefix(_DDIM).split(",")]
    if text.startswith(_DDIM):
        if len(counts) > 1:
            raise ValueError(f"expected one number behind ddim, such as ddim50, found {spacing!r}")
        return _strided(counts[0], total, spacing)
    sizes = [total // len(counts) + (k < total % len(counts)) for k in range(len(counts))]
    for count, size in zip(counts, sizes, strict=True):
        if count > size:
            where = "the schedule" if len(counts) == 1 else f"a section of {spacing!r}"
            raise ValueError(f"expected at most the {size} steps of {where}, found {count}")
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate([start + _spread(n, size) for start, n, size in zip(starts, counts, sizes, strict=True)])


def _count(text: str, spacing: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"expected a number such as 50, sections such as 10,10,10 or ddim50, found {spacing!r}")
    if int(text) == 0:
        raise ValueError(f"expected at least 1 sampling step, found 0 in {spacing!r}")
    return int(text)


def _spread(n: int, size: int) -> NDArray[np.int64]:
    """n of ``size`` steps from the first to the last, halves rounded to the even one; a single one is the first."""
    return np.array([round(k * (size - 1) / (n - 1)) if n > 1 else 0 for k in range(n)], dtype=np.int64)


def _strided(n: int, total: int, spacing: str) -> NDArray[np.int64]:
    for stride in range(1, total + 1):
        kept = np.arange(0, total, stride)
        if len(kept) == n:
            return kept
    raise ValueError(
        f"expected ddimN with a whole stride that keeps exactly N of {total} steps, found {spacing!r}; "
        f"{n} keeps {n} of them"
        if n <= total
        else f"expected at most the {total} steps of the schedule, found {n} in {spacing!r}"
    )
