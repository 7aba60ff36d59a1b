"""The markdown page of the study: numbers and slopes. Simulated genes and a cohort never share a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from stbench.evaluation.hardware import versions
from stbench.pages import markdown
from stbench.pages.tables import NONE, Table
from stbench.studies.curse import wording
from stbench.studies.curse.cohort import CohortResult
from stbench.studies.curse.estimators import Curve, FloatArray, Slope, with_noise
from stbench.studies.curse.gaussian import GaussianResult
from stbench.studies.curse.settings import CurseSettings

NOISES = (0.01, 0.1, 1.0)
"""Noise on edges: the smallest of the paper (Table 5), and two more from its schedule, which ends at 10."""
_PACKAGES = ("python", "stbench", "numpy", "scipy")


def page(settings: CurseSettings, gaussian: GaussianResult, cohort: CohortResult | None, *, figure: str) -> str:
    """The page.

    Args:
        settings: what the user chose.
        gaussian: results on simulated genes.
        cohort: results on a cohort.
        figure: file name of the figure beside the page.
    """
    parts = [
        f"# Gene dimension curse: {markdown.inline(cohort.card.name) if cohort else 'simulated genes'}",
        wording.LEAD,
        f"![Curves against panel size]({figure})",
        *_gaussian(settings, gaussian),
        *(_cohort(settings, cohort) if cohort else ()),
        "## What this is not",
        markdown.bullets(wording.limits(cohort)),
        "## To repeat",
        markdown.code([settings.command()]),
        "Versions: " + ", ".join(f"{name} {said}" for name, said in versions().items() if name in _PACKAGES) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def gaussian_fits(result: GaussianResult) -> list[Curve]:
    """Curves of the simulated genes whose slopes are reported."""
    return [*result.curves.values(), *(with_noise(result.curves["gram-sharpness"], noise) for noise in NOISES)]


def cohort_fits(result: CohortResult) -> list[Curve]:
    """Curves of a cohort whose slopes are reported."""
    fitted = [curve for curve in result.curves.values() if curve.theory is not None]
    return [*fitted, with_noise(result.curves["random-sharpness"], NOISES[0])]


def slopes(curves: Sequence[Curve]) -> Table:
    """Average slopes beside the theory's exponents and the local slopes they are averages of, with 95 % intervals."""
    genes = curves[0].genes
    steps = [f"{small} to {large}" for small, large in pairwise(genes)]
    return Table(["quantity", "slope", "theory", "bends", *steps], [_slopes(curve) for curve in curves])


def _slopes(curve: Curve) -> list[str]:
    theory = NONE if curve.theory is None else f"{curve.theory:+g}"
    shown = [_interval(fit) for fit in [curve.slope, *curve.local_slopes]]
    return [curve.title, shown[0], theory, _bend(curve), *shown[1:]]


def _bend(curve: Curve) -> str:
    return "yes" if curve.bend.seen else f"< {curve.bend.excluded:.2g}"


def _interval(fit: Slope) -> str:
    return f"{fit.value:+.3f} ± {fit.half:.3f}"


def _gaussian(settings: CurseSettings, result: GaussianResult) -> list[str]:
    return [
        "## Simulated Gaussian genes",
        wording.gaussian_intro(settings, result),
        markdown.table(slopes(gaussian_fits(result))),
        wording.gaussian_interval(settings),
        f"Pearson correlation of two neighbouring spots, true value {result.truth[0, 1]:.3f}:",
        _pair(result),
        "Error, E||A_hat - A\\*||_F^2:",
        _errors(result),
        "Sharpness, 1 / lambda_min(Sigma_A), where Sigma_A is the covariance of A_hat between panels in the space of "
        "symmetric matrices with the Frobenius norm; closed form of Pearson to first order in 1/G:",
        _sharpness(result),
        markdown.bullets(wording.GAUSSIAN_NOTES),
    ]


def _pair(result: GaussianResult) -> str:
    curve, exact = result.curves["pair-sd"], result.exact["pair-sd"]
    low, high = np.quantile(result.pair, (0.025, 0.975), axis=1)
    return _table(
        ["G", "mean", "sd", "sd, first order", "2.5 %", "97.5 %"],
        (
            [str(g), f"{result.pair[i].mean():.3f}", f"{curve.mean[i]:.4f}", f"{exact[i]:.4f}"]
            + [f"{end[i]:.3f}" for end in (low, high)]
            for i, g in enumerate(curve.genes)
        ),
    )


def _errors(result: GaussianResult) -> str:
    columns = [("gram-error", True), ("gram-error", False), ("pearson-error", True), ("pearson-error", False)]
    return _table(
        ["G", "Gram", "exact", "Pearson", "first order"],
        _rows(result.curves["gram-error"].genes, [_measured(result, key, here) for key, here in columns]),
    )


def _sharpness(result: GaussianResult) -> str:
    columns = []
    for name in ("gram", "pearson"):
        columns += [_measured(result, f"{name}-{kind}", True) for kind in ("sharpness", "plug-in")]
        columns.append(_measured(result, f"{name}-sharpness", False))
    noisy = [with_noise(result.curves["gram-sharpness"], noise).mean for noise in NOISES]
    heads = ["Gram, held out", "plug-in", "exact", "Pearson, held out", "plug-in", "first order"]
    heads += [f"Gram, noise {noise:g}" for noise in NOISES]
    return _table(["G", *heads], _rows(result.curves["gram-error"].genes, [*columns, *noisy]))


def _measured(result: GaussianResult, key: str, measured: bool) -> FloatArray:
    return result.curves[key].mean if measured else result.exact[key]


def _cohort(settings: CurseSettings, result: CohortResult) -> list[str]:
    return [
        f"## {result.card.name}: {wording.mark(result.card)}",
        wording.cohort_intro(settings, result),
        markdown.table(slopes(cohort_fits(result))),
        wording.cohort_interval(settings, result),
        "Scatter of Pearson between panels:",
        _scatter(result),
        "Sharpness of Pearson, random genes:",
        _cohort_sharpness(result),
        markdown.bullets(wording.cohort_notes(settings)),
        "### Released edge target beside Pearson",
        wording.EDGES_INTRO,
        _edges(result),
    ]


def _scatter(result: CohortResult) -> str:
    curves = result.curves
    heads = ["G", "variance, random genes", "over Gaussian", "variance, top-ranked genes", "over Gaussian"]
    return _table(
        [*heads, "top G to pool"],
        (
            [
                str(size),
                _spread(curves["random-variance"], i),
                f"{curves['random-inflation'].mean[i]:.2f}",
                _spread(curves["top-variance"], i),
                f"{curves['top-inflation'].mean[i]:.2f}",
                _spread(curves["drift"], i),
            ]
            for i, size in enumerate(result.sizes)
        ),
    )


def _cohort_sharpness(result: CohortResult) -> str:
    held_out, plug_in = result.curves["random-sharpness"], result.curves["random-plug-in"]
    noisy = with_noise(held_out, NOISES[0])
    return _table(
        ["G", "held out", "plug-in", f"held out, noise {NOISES[0]:g}", "constant spots"],
        (
            [str(g), _spread(held_out, i), _spread(plug_in, i), _spread(noisy, i), f"{result.constant[i]:.1%}"]
            for i, g in enumerate(result.sizes)
        ),
    )


def _edges(result: CohortResult) -> str:
    table = result.edges
    facts = table.facts.mean(axis=0)
    return _table(
        ["G", "released mean", "sd", "min", "Pearson mean", "sd", "correlation of both"],
        (
            [str(g), f"{facts[i, 0]:.6f}", f"{facts[i, 1]:.1e}", f"{facts[i, 2]:.5f}"]
            + [f"{facts[i, k]:.3f}" for k in (3, 4)]
            + [f"{facts[i, 5]:.2f}"]
            for i, g in enumerate(table.sizes)
        ),
    )


def _spread(curve: Curve, place: int) -> str:
    return f"{said(curve.mean[place])} ± {said(curve.std[place])}"


def said(value: float) -> str:
    """A positive number with three digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def _rows(sizes: Sequence[int], columns: Sequence[FloatArray]) -> list[list[str]]:
    return [[str(size), *(said(column[i]) for column in columns)] for i, size in enumerate(sizes)]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown.table(Table(columns, list(rows)))
