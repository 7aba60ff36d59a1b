"""Means over patients, their intervals, and which rows are told apart (evaluation sheet, 2.2 and 2.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stbench.evaluation.record import TaskFacts
from stbench.evaluation.summaries import mean_of
from stbench.pages.facts import leaking
from stbench.text import count

LEVEL = 0.95
LEAST = 4
"""Fewer patients have no interval: their values are listed."""
POWER = 0.8
MOST_PATIENTS = 1000
"""More are not counted up."""
LEAST_SIGN_FLIP = 6
"""With fewer patients no sign-flip test can reject."""
_MOST_EXACT = 16  # patients whose sign flips are all gone through


@dataclass(frozen=True)
class Estimate:
    """A mean over patients.

    Args:
        per_patient: patient to mean over the patient's slides.
        half: half the 95 % t interval of the mean, None below four patients or where none may be given.
    """

    per_patient: dict[str, float]
    half: float | None

    @property
    def mean(self) -> float:
        """Mean over patients, each with the same weight."""
        return float(np.mean(list(self.per_patient.values())))


@dataclass(frozen=True)
class Difference:
    """A paired difference of two rows over the patients that both have.

    Args:
        mean: first minus second.
        half: half its 95 % t interval, None below four patients.
        p: two-sided p of the paired t test, None below four patients.
        sign_flip: p of the sign-flip test on the patients' differences, None below six patients.
        detectable: smallest difference found with 80 % power at this spread, None below four patients.
        spread: sample standard deviation of the patients' differences, None below four patients.
    """

    mean: float
    half: float | None
    p: float | None
    sign_flip: float | None
    detectable: float | None
    spread: float | None


def by_patient(per_slide: Mapping[str, float | None], patients: Mapping[str, str | None]) -> dict[str, float] | None:
    """Patient to mean over the slides where a metric is defined; None where a slide's patient is unknown.

    A patient without a defined slide is left out.
    """
    found: dict[str, list[float | None]] = {}
    for slide, value in sorted(per_slide.items()):
        patient = patients.get(slide)
        if patient is None:
            return None
        found.setdefault(patient, []).append(value)
    means = {patient: mean_of(values) for patient, values in found.items()}
    return {patient: mean for patient, mean in means.items() if mean is not None}


def estimate(per_patient: dict[str, float], *, interval: bool = True) -> Estimate:
    """The mean over patients, with an interval where there are enough and one may be given."""
    enough = interval and len(per_patient) >= LEAST
    return Estimate(per_patient, half_width(list(per_patient.values())) if enough else None)


def over_patients(per_slide: Mapping[str, float | None], task: TaskFacts) -> Estimate | None:
    """The mean over patients of what is known of test slides, without interval where :func:`no_interval` says why.

    Returns:
        None where a slide's patient is unknown, or nothing is defined.
    """
    per_patient = by_patient(per_slide, task.patients)
    return estimate(per_patient, interval=not no_interval(task)) if per_patient else None


def no_interval(*tasks: TaskFacts) -> str:
    """Why nothing can be said of other patients than those of the test slides of tasks; empty where it can."""
    patients = {task.patients.get(slide) for task in tasks for slide in task.test}
    if None in patients:
        return "patients unknown"
    if any(leaking(task) for task in tasks):
        return "test patients train or validate"
    return count(len(patients), "test patient") if len(patients) < LEAST else ""


def difference(first: Mapping[str, float], second: Mapping[str, float]) -> Difference | None:
    """First minus second over the patients that both have; None where there are none."""
    values = _paired(first, second)
    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) < LEAST:
        return Difference(mean, None, None, None, None, None)
    flips = sign_flip_p(values) if len(values) >= LEAST_SIGN_FLIP else None
    spread = float(np.std(values, ddof=1))
    return Difference(mean, half_width(values), _t_test_p(values), flips, _least_shift(len(values)) * spread, spread)


def paired_p(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Two-sided p of the paired t test over the patients that both have; 1 below four patients."""
    values = _paired(first, second)
    return _t_test_p(values) if len(values) >= LEAST else 1.0


def _paired(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    return [first[patient] - second[patient] for patient in sorted(first.keys() & second.keys())]


def half_width(values: Sequence[float]) -> float:
    """Half the 95 % t interval of the mean of two or more values."""
    from scipy.stats import t

    n = len(values)
    return float(t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))


def _t_test_p(values: Sequence[float]) -> float:
    """Two-sided p of a mean of zero; 0 or 1 where the values do not vary."""
    from scipy.stats import t

    spread, n = float(np.std(values, ddof=1)), len(values)
    if spread == 0:
        return 0.0 if np.any(np.asarray(values) != 0) else 1.0
    return float(2 * t.sf(abs(np.mean(values)) / (spread / np.sqrt(n)), n - 1))


def _least_shift(n: int) -> float:
    """Smallest mean, in standard deviations, that a paired t test at .05 finds with 80 % power (noncentral t)."""
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    limit = t.ppf((1 + LEVEL) / 2, n - 1)
    return float(brentq(lambda delta: nct.sf(limit, n - 1, delta) - POWER, 0, 50) / np.sqrt(n))


def patients_needed(spread: float, gap: float) -> int:
    """How many patients would show a difference of ``gap`` with 80 % power, their differences varying by ``spread``.

    Args:
        spread: standard deviation of the patients' differences.
        gap: above 0.

    Returns:
        At least four, ``MOST_PATIENTS`` where it is that many or more.
    """
    return bisect_left(range(MOST_PATIENTS), -gap, lo=LEAST, hi=MOST_PATIENTS, key=lambda n: -_least_shift(n) * spread)


def sign_flip_p(values: Sequence[float]) -> float:
    """Two-sided p of the mean under every flip of signs; 20,000 random ones above 16 patients, seeded."""
    differences = np.asarray(values, dtype=np.float64)
    n = len(differences)
    if n <= _MOST_EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(0).choice((-1, 1), size=(20_000, n))
        signs[0] = 1
    means = np.abs(signs @ differences)
    return float(np.mean(means >= abs(differences.sum()) - 1e-12))


def holm(ps: Sequence[float], level: float = 1 - LEVEL) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at a family-wise level."""
    order = np.argsort(ps, kind="stable")
    rejected = [False] * len(ps)
    for step, place in enumerate(order):
        if ps[place] > level / (len(ps) - step):
            break
        rejected[place] = True
    return rejected


def group_of_best(rows: Mapping[str, Mapping[str, float]], *, higher: bool) -> list[str]:
    """The best row and every row that is not told from it: paired t tests against the best, Holm over them.

    Args:
        rows: label to patient means.
        higher: whether larger values are better.

    Returns:
        Labels, the best one first; every row where there are fewer than four patients to tell them apart by.
    """
    sign = 1 if higher else -1
    labels = sorted(rows, key=lambda label: (-sign * float(np.mean(list(rows[label].values()))), label))
    if not labels:
        return []
    best, *others = labels
    ps = [paired_p(rows[best], rows[other]) for other in others]
    return [best, *(other for other, gone in zip(others, holm(ps), strict=True) if not gone)]
