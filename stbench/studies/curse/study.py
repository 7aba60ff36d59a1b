"""The whole study: measure, draw, write."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stbench.data.opening import open_dataset
from stbench.evaluation.request import default_cache
from stbench.files import write_text
from stbench.pages.figures import save_figure
from stbench.reporting import SILENT, Reporter
from stbench.studies.curse.cohort import CohortResult, measure_cohort
from stbench.studies.curse.edges import FACTS
from stbench.studies.curse.estimators import Curve
from stbench.studies.curse.gaussian import GaussianResult, measure_gaussian
from stbench.studies.curse.page import page
from stbench.studies.curse.picture import picture
from stbench.studies.curse.settings import CurseSettings


@dataclass(frozen=True)
class Study:
    """Everything that was measured.

    Args:
        settings: what the user chose.
        gaussian: on simulated Gaussian genes.
        cohort: on the counts of a cohort, None without one.
    """

    settings: CurseSettings
    gaussian: GaussianResult
    cohort: CohortResult | None

    @property
    def name(self) -> str:
        """Name of the files, without an ending."""
        return self.cohort.card.name if self.cohort else "gaussian"


def measure(settings: CurseSettings, reporter: Reporter = SILENT) -> Study:
    """Measure both parts; the cohort first, because it can be wrong.

    Linear algebra keeps to one thread: its matrices are small, and sums then have one order on any number of cores.

    Args:
        settings: what the user chose.
        reporter: where progress goes.

    Raises:
        UserError: the cohort is not there, or too small for the settings.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        cohort = None if settings.dataset is None else _measure_cohort(settings.dataset, settings, reporter)
        return Study(settings, measure_gaussian(settings, reporter), cohort)


def _measure_cohort(dataset: str, settings: CurseSettings, reporter: Reporter) -> CohortResult:
    cohort, card = open_dataset(
        dataset, settings.data_root, settings.simulate, default_cache(), reporter, require_image=False
    )
    return measure_cohort(cohort, card, settings, reporter)


def write(study: Study, out: Path) -> list[Path]:
    """Write ``<name>.md``, ``.png``, ``.svg`` and ``.json``; earlier files of the name are replaced.

    Args:
        study: what was measured.
        out: folder; made when absent.

    Returns:
        The files written, the page first.

    Raises:
        UserError: the folder cannot be written.
    """
    figures = save_figure(picture(study.gaussian, study.cohort), out / study.name)
    texts = {
        out / f"{study.name}.md": page(study.settings, study.gaussian, study.cohort, figure=figures[0].name),
        out / f"{study.name}.json": json.dumps(numbers(study), indent=1, allow_nan=False) + "\n",
    }
    for path, text in texts.items():
        write_text(path, text, hint="choose another --out")
    return [*texts, *figures]


def numbers(study: Study) -> dict[str, Any]:
    """Everything measured, at full precision; simulated genes and the cohort's counts apart."""
    gaussian, cohort = study.gaussian, study.cohort
    found: dict[str, Any] = {
        "command": study.settings.command(),
        "panels": study.settings.panels,
        "gaussian": {
            "simulated": True,
            "truth": gaussian.truth.tolist(),
            "exact": {key: values.tolist() for key, values in gaussian.exact.items()},
            "curves": {key: _curve(curve) for key, curve in gaussian.curves.items()},
        },
    }
    if cohort is not None:
        edges = cohort.edges
        found["cohort"] = {
            "dataset": cohort.card.name,
            "simulated": cohort.card.simulated,
            "semi_synthetic": cohort.card.semi_synthetic,
            "slides": cohort.slides,
            "patients": cohort.patients,
            "pool": cohort.pool,
            "sizes_left_out": list(cohort.left_out),
            "unit": cohort.unit,
            "curves": {key: _curve(curve) for key, curve in cohort.curves.items()},
            "constant": cohort.constant.tolist(),
            "edges": {
                slide: {
                    str(size): dict(zip(FACTS, edges.facts[row, column].tolist(), strict=True))
                    for column, size in enumerate(edges.sizes)
                }
                for row, slide in enumerate(edges.slides)
            },
        }
    return found


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "title": curve.title,
        "theory": curve.theory,
        "genes": list(curve.genes),
        "mean": curve.mean.tolist(),
        "std": curve.std.tolist(),
        "units": curve.values.tolist(),
        "slope": asdict(curve.slope),
        "local_slopes": [asdict(local) for local in curve.local_slopes],
        "bend": asdict(curve.bend),
    }
