"""A mean over patients and seeds, with an interval that speaks of other patients and of other seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stbench.pages.patients import LEAST, LEVEL

Values = Mapping[str, Mapping[int, float]]
"""Patient to seed to value."""


@dataclass(frozen=True)
class Crossed:
    """A mean over patients, each averaged over its seeds.

    Args:
        per_patient: patient to mean over seeds.
        error: standard error of the mean over patients, None below four patients or where none may be given.
        freedom: degrees of freedom of the error, at most one less than there are patients.
    """

    per_patient: dict[str, float]
    error: float | None = None
    freedom: float = 0.0

    @property
    def mean(self) -> float:
        """Mean over patients, each with the same weight."""
        return float(np.mean(list(self.per_patient.values())))

    def half(self, level: float = LEVEL) -> float | None:
        """Half the two-sided t interval at a level, None where there is no error."""
        from scipy.stats import t

        return None if self.error is None else float(t.ppf((1 + level) / 2, self.freedom) * self.error)

    @property
    def bound(self) -> float | None:
        """What the mean is below with one-sided confidence of 95 %, None where there is no error."""
        half = self.half(2 * LEVEL - 1)
        return None if half is None else self.mean + half

    @property
    def p(self) -> float:
        """Two-sided p of a mean of zero; 1 where there is no error."""
        from scipy.stats import t

        if not self.error:
            return float(self.error is None or self.mean == 0)
        return float(2 * t.sf(abs(self.mean) / self.error, self.freedom))


def crossed(values: Values, *, interval: bool = True) -> Crossed:
    """The mean over patients, with an error where there are enough patients and one may be given.

    Both patients and seeds are samples: with mean squares of a layout of P patients by S seeds without replicates, the
    variance of the mean is ``(MS_patients + MS_seeds - MS_rest) / (P S)``, its degrees of freedom are Satterthwaite's,
    not below ``S - 1``. It is never taken to be below that of patients alone, nor its freedom above ``P - 1``, so that
    seeds cannot narrow the interval of boards.

    Args:
        values: patient to seed to value; only seeds that every patient has tell of the spread over seeds.
        interval: whether an interval may be given: patients are known and none was seen.
    """
    means = {patient: float(np.mean(list(seeds.values()))) for patient, seeds in values.items()}
    if not interval or len(means) < LEAST:
        return Crossed(means)
    shared = sorted(set.intersection(*(set(seeds) for seeds in values.values())))
    table = np.array([[seeds[seed] for seed in shared] for seeds in values.values()], dtype=np.float64)
    return Crossed(means, *_error(np.array(list(means.values())), table))


def _error(means: np.ndarray, table: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean and its degrees of freedom; the table is (patients, seeds)."""
    n, m = table.shape
    rows = float(np.var(means, ddof=1)) / n
    if m < 2:
        return float(np.sqrt(rows)), n - 1
    columns = float(np.var(table.mean(axis=0), ddof=1)) / m
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    noise = float(np.sum(rest**2)) / ((n - 1) * (m - 1)) / (n * m)
    if columns <= noise:
        return float(np.sqrt(rows)), n - 1
    variance = rows + columns - noise
    spread = rows**2 / (n - 1) + columns**2 / (m - 1) + noise**2 / ((n - 1) * (m - 1))
    return float(np.sqrt(variance)), min(n - 1, max(m - 1, variance**2 / spread))
