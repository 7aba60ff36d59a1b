"""Means and spreads over slides and draws, with undefined values left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stbench.evaluation.record import DrawSummary, Summary


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the defined values, None when there is none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def std_of(values: Sequence[float | None]) -> float | None:
    """Sample standard deviation of the defined values, None when there are fewer than two."""
    defined = [value for value in values if value is not None]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else None


def summarise(
    per_slide: dict[str, float | None],
    n_undefined: dict[str, int] | None = None,
    n_constant: dict[str, int] | None = None,
    *,
    dressed: bool = False,
) -> Summary:
    """Summary of one metric; every slide counts the same, whatever its number of spots."""
    values = list(per_slide.values())
    return Summary(
        mean=mean_of(values),
        std=std_of(values),
        per_slide=per_slide,
        n_undefined=n_undefined or {},
        n_constant=n_constant or {},
        dressed=dressed,
    )


def summarise_draws(per_slide: dict[str, list[float | None]], n_constant: dict[str, int] | None = None) -> DrawSummary:
    """Summary of one metric of single draws; ``per_slide`` holds one value per draw."""
    of_draw = [mean_of(values) for values in zip(*per_slide.values(), strict=True)]
    return DrawSummary(
        mean=mean_of(of_draw),
        std_draws=std_of(of_draw),
        std_slides=std_of([mean_of(values) for values in per_slide.values()]),
        per_slide=per_slide,
        per_draw=of_draw,
        n_constant=n_constant or {},
    )
