"""The figure of the study: a row of panels for simulated genes, one for the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stbench.pages.figures import COLORS, panels
from stbench.studies.curse.cohort import CohortResult
from stbench.studies.curse.edges import BINS
from stbench.studies.curse.estimators import Curve, FloatArray, Slope, with_noise
from stbench.studies.curse.gaussian import GaussianResult
from stbench.studies.curse.page import NOISES
from stbench.studies.curse.wording import mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_THEORY: dict[str, Any] = {"color": "0.35", "linestyle": "--", "linewidth": 1.2, "zorder": 5}
_MARKERS = ("o", "s", "^", "D")


def picture(gaussian: GaussianResult, cohort: CohortResult | None) -> Figure:
    """Four panels for the simulated genes and, with a cohort, four for its counts.

    Args:
        gaussian: results on simulated genes.
        cohort: results on a cohort.
    """
    titles = _gaussian_titles(gaussian) + (_cohort_titles(cohort) if cohort else [])
    caption = (
        "Bars: sd over repeats or patients. In brackets: 95 % interval. Two slopes: the smallest and the largest "
        "between neighbouring sizes of a curve that bends. Dashed: slope of the theory."
    )
    figure, axes = panels(titles, columns=4, caption=caption)
    _draw_gaussian(axes[:4], gaussian)
    if cohort:
        _draw_cohort(axes[4:], cohort)
    return figure


def _gaussian_titles(result: GaussianResult) -> list[str]:
    curves = result.curves
    noisy = with_noise(curves["gram-sharpness"], NOISES[0])
    return [
        f"Simulated Gaussian genes\n{line}"
        for line in (
            f"sd of r of two neighbours {_power(curves['pair-sd'])}",
            f"error, Gram {_power(curves['gram-error'])}",
            f"sharpness, Gram {_power(curves['gram-sharpness'])}",
            f"noise {NOISES[0]:g} added, last step {_step(noisy.local_slopes[-1])}",
        )
    ]


def _cohort_titles(result: CohortResult) -> list[str]:
    curves = result.curves
    return [
        f"{result.card.name} ({mark(result.card)})\n{line}"
        for line in (
            "r of all pairs of spots, most expressed genes",
            f"variance, random genes {_power(curves['random-variance'])}",
            f"sharpness, random genes {_power(curves['random-sharpness'])}",
            "released edge target beside Pearson",
        )
    ]


def _power(curve: Curve) -> str:
    """The exponent of a curve, or how far its slope moves where it has none."""
    if curve.bend.seen:
        local = [fit.value for fit in curve.local_slopes]
        return _minus(f"(slope {min(local):.2f} to {max(local):.2f})")
    fit = curve.slope
    return rf"$\;\propto\;G^{{{fit.value:.2f}}}$ {_ends(fit)}"


def _step(fit: Slope) -> str:
    return f"{_minus(f'slope {fit.value:.2f}')} {_ends(fit)}"


def _ends(fit: Slope) -> str:
    return _minus(f"[{fit.low:.2f}, {fit.high:.2f}]")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _draw_gaussian(axes: Sequence[Axes], result: GaussianResult) -> None:
    curves, sizes = result.curves, result.curves["gram-error"].genes
    shares = np.stack([np.histogram(row, BINS)[0] / len(row) for row in result.pair])
    _densities(axes[0], sizes, shares)
    axes[0].axvline(result.truth[0, 1], label="true value", **_THEORY)
    axes[0].legend(fontsize=7, frameon=False, title="G", title_fontsize=7)
    _lines(axes[1], {"Gram": curves["gram-error"], "Pearson": curves["pearson-error"]})
    axes[1].plot(sizes, result.exact["gram-error"], label="theory, exact for Gram", **_THEORY)
    axes[1].set_ylabel(r"$E\,\|\hat A - A^*\|_F^2$")
    _lines(axes[2], {"Gram, held out": curves["gram-sharpness"], "Pearson, held out": curves["pearson-sharpness"]})
    axes[2].plot(sizes, result.exact["gram-sharpness"], label="theory, exact for Gram", **_THEORY)
    _noise(axes[3], curves["gram-sharpness"])
    axes[3].plot(sizes, result.exact["gram-sharpness"], label="theory, exact, no noise", **_THEORY)
    _finish(axes[1:])


def _draw_cohort(axes: Sequence[Axes], result: CohortResult) -> None:
    curves, edges = result.curves, result.edges
    _densities(axes[0], edges.sizes, edges.density)
    axes[0].legend(fontsize=7, frameon=False, title="G", title_fontsize=7)
    random, top = curves["random-variance"], curves["top-variance"]
    _lines(axes[1], {"random genes": random, f"top-ranked genes {_power(top)}": top,
                     f"top G to pool {_power(curves['drift'])}": curves["drift"]})  # fmt: skip
    _slope(axes[1], random, -1)
    axes[1].set_ylabel(r"$E\,\|\hat A_1 - \hat A_2\|_F^2\,/\,2$")
    sharp = curves["random-sharpness"]
    _lines(axes[2], {"random genes, held out": sharp, f"with noise {NOISES[0]:g} added": with_noise(sharp, NOISES[0])})
    _slope(axes[2], sharp, 1)
    facts = edges.facts.mean(axis=0)
    for place, (label, values) in enumerate(
        {"Pearson: sd": facts[:, 4], "released: sd": facts[:, 1], "released: 1 − mean": 1 - facts[:, 0]}.items()
    ):
        axes[3].plot(edges.sizes, values, color=COLORS[place], marker=_MARKERS[place], markersize=4, label=label)
    axes[3].set_ylabel("over pairs of spots")
    _finish(axes[1:])
    axes[2].set_ylabel(_SHARPNESS)
    axes[1].set_ylim(bottom=axes[1].get_ylim()[0] / 8)  # room for the legend


_SHARPNESS = r"sharpness, $1\,/\,\lambda_{\min}(\Sigma_A)$"


def _densities(axes: Axes, sizes: Sequence[int], shares: FloatArray) -> None:
    import matplotlib

    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(sizes)))
    width = BINS[1] - BINS[0]
    for size, share, colour in zip(sizes, shares, colours, strict=True):
        axes.stairs(share / width, BINS, color=colour, linewidth=1.3, label=str(size))
    axes.set_xlabel("correlation of two spots")
    axes.set_ylabel("density")


def _lines(axes: Axes, curves: dict[str, Curve]) -> None:
    for place, (label, curve) in enumerate(curves.items()):
        lower = np.minimum(curve.std, 0.9 * curve.mean)  # a bar must not reach 0 on a logarithmic scale
        axes.errorbar(curve.genes, curve.mean, [lower, curve.std], label=label, color=COLORS[place],
                      marker=_MARKERS[place], markersize=4, linewidth=1.3, capsize=2)  # fmt: skip


def _noise(axes: Axes, curve: Curve) -> None:
    _lines(axes, {f"noise {noise:g}": with_noise(curve, noise) for noise in NOISES})


def _slope(axes: Axes, curve: Curve, theory: float) -> None:
    sizes = np.asarray(curve.genes, dtype=float)
    level = np.exp(np.mean(np.log(curve.mean) - theory * np.log(sizes)))
    axes.plot(sizes, level * sizes**theory, label=f"slope {theory:+g}".replace("-", "−"), **_THEORY)


def _finish(axes: Sequence[Axes]) -> None:
    for place, one in enumerate(axes):
        one.set_xscale("log")
        one.set_yscale("log")
        one.set_xlabel("genes in the panel, G")
        one.legend(fontsize=7, frameon=False)
        if place > 0 and not one.get_ylabel():
            one.set_ylabel(_SHARPNESS)
