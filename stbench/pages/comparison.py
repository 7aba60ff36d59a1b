"""Paired differences of cells of one task, over patients or slides, as ablations print them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stbench.evaluation.record import TaskFacts
from stbench.evaluation.summaries import mean_of
from stbench.pages.patients import LEAST, half_width
from stbench.pages.rows import Cell

MIN_SLIDES = 3


@dataclass(frozen=True)
class Unit:
    """What is counted when two rows are compared.

    Args:
        name: ``patient`` or ``slide``.
        of_slide: test slide to its unit.
        enough: whether there are enough of them for any comparison.
    """

    name: str
    of_slide: dict[str, str]
    enough: bool


def unit_of(task: TaskFacts) -> Unit:
    """Patients where all test slides have one, none is in training and there are four or more; else slides."""
    patients = {slide: task.patients.get(slide) for slide in task.test}
    known = {slide: patient for slide, patient in patients.items() if patient is not None}
    clean = len(known) == len(task.test) and task.leak_fraction == 0
    if clean and len(set(known.values())) >= LEAST:
        return Unit("patient", known, True)
    return Unit("slide", {slide: slide for slide in task.test}, len(task.test) >= MIN_SLIDES)


def interval(first: Cell, second: Cell, unit: Unit) -> tuple[float, float] | None:
    """Mean paired difference, first minus second, and half-width of its 95 % t interval.

    Slides are averaged inside a unit first; slides where either is undefined are left out.

    Returns:
        None with fewer than three units.
    """
    pairs = {slide: (first.per_slide.get(slide), second.per_slide.get(slide)) for slide in unit.of_slide}
    return interval_over(differences_of(pairs), unit)


def differences_of(pairs: Mapping[str, tuple[float | None, float | None]]) -> dict[str, float]:
    """First minus second, where both are defined."""
    return {name: a - b for name, (a, b) in pairs.items() if a is not None and b is not None}


def interval_over(differences: Mapping[str, float], unit: Unit) -> tuple[float, float] | None:
    """Mean of differences by slide, averaged inside a unit first, and half-width of its 95 % t interval.

    Returns:
        None with fewer than three units.
    """
    of_unit: dict[str, list[float | None]] = {}
    for slide, name in sorted(unit.of_slide.items()):
        if slide in differences:
            of_unit.setdefault(name, []).append(differences[slide])
    values = [float(mean_of(found) or 0.0) for found in of_unit.values()]
    if len(values) < MIN_SLIDES:
        return None
    return float(np.mean(values)), half_width(values)
