"""Whether two records of one run and seed may stand for each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

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
    found = next(contradictions(first, second), None)
    if found is None:
        return None
    mine, theirs = (_said(one, found.metric, getattr(one, found.way)[found.metric]) for one in (first, second))
    return f"{mine} and {theirs}"


class Contradiction(NamedTuple):
    """A score of which two records of one run say different things.

    Args:
        way: field of the records, such as ``metrics``.
        metric: its name.
        place: slide, or slide and draw; empty for the mean.
        first: the value of the first record, None where it is undefined or not there.
        second: of the second one.
    """

    way: str
    metric: str
    place: str
    first: float | None
    second: float | None


def contradictions(first: Record, second: Record) -> Iterator[Contradiction]:
    """The first place of every metric of both records in which they differ by more than rounding."""
    for way in ("metrics", "metrics_single_draw", "metrics_posterior_mean"):
        mine, theirs = getattr(first, way), getattr(second, way)
        for metric in sorted(mine.keys() & theirs.keys()):
            a, b = _numbers(mine[metric]), _numbers(theirs[metric])
            place = next((one for one in {**a, **b} if not _near(a.get(one, math.nan), b.get(one, math.nan))), None)
            if place is not None:
                yield Contradiction(way, metric, place, a.get(place), b.get(place))


def _said(record: Record, metric: str, summary: Summary | DrawSummary) -> str:
    mean = "undefined" if summary.mean is None else f"{summary.mean:.6g}"
    return f"{metric} {mean} of {record.created or 'an unknown time'}"


def _numbers(summary: Summary | DrawSummary) -> Mapping[str, float | None]:
    """Every value by its place."""
    found: dict[str, float | None] = {"": summary.mean}
    for slide, value in summary.per_slide.items():
        found |= {f"{slide}/{k}": v for k, v in enumerate(value)} if isinstance(value, list) else {slide: value}
    return found


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
