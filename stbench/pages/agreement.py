"""Whether two records of one run and seed may stand for each other."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stbench.errors import DataError
from stbench.evaluation.record import DrawSummary, Record, Summary

_RELATIVE, _ABSOLUTE = 1e-4, 1e-6  # two machines round otherwise, and training carries it on


def check_agreement(first: Record | None, second: Record) -> None:
    """Raise DataError where two finished records of one run say different things; one that failed says nothing.

    Scores made under different rules are not compared, and neither are metrics that only one of them has.
    """
    if first is None or first.status != "done" or second.status != "done":
        return
    if (said := _difference(first, second)) is not None:
        raise DataError(
            f"expected one result of {first.method} with seed {first.seed} on task {first.task.hash[:16]}, found two "
            f"that contradict each other: {said}; give only the folder or archive of the right one"
        )


def _difference(first: Record, second: Record) -> str | None:
    if first.rules != second.rules:
        return None
    for name in ("metrics", "metrics_single_draw", "metrics_posterior_mean"):
        mine, theirs = getattr(first, name), getattr(second, name)
        for metric in sorted(mine.keys() & theirs.keys()):
            if not _alike(_numbers(mine[metric]), _numbers(theirs[metric])):
                return f"{_said(first, metric, mine[metric])} and {_said(second, metric, theirs[metric])}"
    return None


def _said(record: Record, metric: str, summary: Summary | DrawSummary) -> str:
    mean = "undefined" if summary.mean is None else f"{summary.mean:.6g}"
    return f"{metric} {mean} of {record.created or 'an unknown time'}"


def _numbers(summary: Summary | DrawSummary) -> Mapping[str, float | None]:
    """Every value by its place."""
    found: dict[str, float | None] = {"": summary.mean}
    for slide, value in summary.per_slide.items():
        found |= {f"{slide}/{k}": v for k, v in enumerate(value)} if isinstance(value, list) else {slide: value}
    return found


def _alike(first: Mapping[str, float | None], second: Mapping[str, float | None]) -> bool:
    return first.keys() == second.keys() and all(_near(value, second[place]) for place, value in first.items())


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
