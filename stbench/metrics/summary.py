"""Every registered metric on one slide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from stbench.catalogue import MetricCard, find_metric, load_entry, metric_cards
from stbench.errors import DataError, StbenchError
from stbench.metrics.score import Score
from stbench.text import listed, named


class OverSlides(Protocol):
    """A metric of several slides together; slides stream through."""

    def update(self, true: ArrayLike, pred: ArrayLike, **facts: Any) -> None:
        """Add a slide: (n_spots, n_genes) truth and prediction, and what the card needs, None where it is not known."""

    def value(self) -> Score:
        """The score of all slides added so far."""


DRAWS = "draws"
SLIDES = "slides"
SPREAD, CALIBRATION = "spread", "calibration"
GENE_SETS, DOMAINS = "gene_sets", "domains"
STEADY = 0.8
"""ARI of two clusterings of the truth, from two seeds, below which its domains rank nothing."""
_SAME = ("xy", DOMAINS, "genes", "scale", "patient", SPREAD, CALIBRATION)
KEYWORDS = {"depth": "log_depth", GENE_SETS: "sets"} | {name: name for name in _SAME}
"""What a card's ``needs`` may name, and the keyword under which the entry receives it.

A metric is left out where a fact it needs is missing. Only ``spread`` and ``calibration`` may be None: what a metric
makes of a prediction without is its own. Besides these, ``draws`` makes the entry receive the draws in place of the
prediction, and ``slides`` marks a metric of several slides together, which no single slide can be scored by.
"""


def over_slides() -> dict[str, OverSlides]:
    """A fresh accumulator of every registered metric that is of several slides together, by name."""
    cards = [card for card in metric_cards().values() if SLIDES in card.needs]
    return {card.name: load_entry(card.entry)() for card in cards}


def add_slide(metrics: Mapping[str, OverSlides], true: ArrayLike, pred: ArrayLike, facts: Mapping[str, Any]) -> None:
    """Add a slide to metrics of several slides together.

    Args:
        metrics: what :func:`over_slides` made.
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes), same scale.
        facts: keyword to fact, as :func:`score_slide` takes them; a card receives those it needs, None where missing.

    Raises:
        DataError: shapes do not fit or a value is not finite.
    """
    cards = metric_cards()
    for name, metric in metrics.items():
        keywords = [KEYWORDS[need] for need in cards[name].needs if need in KEYWORDS]
        with _answering(name):
            metric.update(true, pred, **{keyword: facts.get(keyword) for keyword in keywords})


def uninstalled() -> str:
    """One line that names the metrics of domains that are left out as an extra is not installed; empty if none."""
    without = [card for card in map(find_metric, of_domains()) if lacking_modules(card)]
    if not without:
        return ""
    extras = sorted({extra for card in without for extra in lacking_modules(card).values()})
    return (
        f"left out: {listed(card.name for card in without)}, which need {listed(lacking_modules(without[0]))}; "
        f"pip install 'stbench[{listed(extras, ',')}]'"
    )


def lacking_modules(card: MetricCard) -> dict[str, str]:
    """Modules that a metric requires and that are not installed, to their extras."""
    return {module: extra for module, extra in card.requires.items() if find_spec(module) is None}


def of_domains() -> list[str]:
    """Registered metrics that ask for the domains of a slide."""
    return [card.name for card in metric_cards().values() if DOMAINS in card.needs]


def is_of_sets(metric: str) -> bool:
    """Whether what a metric says one by one is of gene sets, not of genes."""
    card = metric_cards().get(metric)
    return card is not None and GENE_SETS in card.needs


def score_slide(
    true: ArrayLike,
    pred: ArrayLike,
    xy: ArrayLike,
    *,
    draws: ArrayLike | None = None,
    log_depth: ArrayLike | None = None,
    domains: ArrayLike | None = None,
    genes: Sequence[str] | None = None,
    sets: Mapping[str, Sequence[str]] | None = None,
    scale: str | None = None,
    patient: str | None = None,
    spread: ArrayLike | None = None,
    calibration: float | None = None,
    names: Sequence[str] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Score]:
    """Score one prediction of one slide by registered metrics.

    A metric's entry is called as ``entry(true, pred)``, or ``entry(true, draws)`` if its card needs draws, with
    ``xy=``, ``log_depth=``, ``domains=``, ``genes=``, ``sets=``, ``scale=``, ``patient=``, ``spread=`` and
    ``calibration=`` where the card asks for them and with the card's ``settings``, and returns a :class:`Score` or a
    float.

    Args:
        true: (n_spots, n_genes) expression.
        pred: (n_spots, n_genes) declared prediction, same scale.
        xy: (n_spots, 2) spot centres.
        draws: (n_draws, n_spots, n_genes) the samples; None takes the prediction as the only one.
        log_depth: (n_spots,) logarithm of the spot's total UMI; None leaves metrics that need it out.
        domains: (n_spots,) names of tissue domains, empty where a spot has none; None leaves metrics that need it out.
        genes: (n_genes,) names of the panel; None leaves metrics that need it out.
        sets: name of a gene set to its genes; None leaves metrics that need them out.
        scale: name of the scale of expression; None leaves metrics that need it out.
        patient: whose slide it is; None leaves metrics that need it out.
        spread: (n_genes,) standard deviation of the prediction's residuals on validation slides; None where there are
            none, and for single draws.
        calibration: of draws scaled around their mean, as :func:`stbench.metrics.crps` takes it; None for others.
        names: metrics wanted; None takes all registered ones that one slide can be scored by.
        parameters: metric to keywords of its entry that differ from their defaults, e.g. ``{"ssc": {"k": 6}}``.

    Returns:
        Score by metric name, in the order of ``names``; undefined scores are there, with their reason. Metrics whose
        card requires a module that is not installed are left out (:func:`uninstalled` names them).

    Raises:
        UnknownNameError: a name is not registered.
        DataError: shapes do not fit, a value is not finite, or a metric raises anything else or ends the process.
    """
    given: dict[str, Any] = {"xy": xy, "depth": log_depth, "domains": domains, "genes": genes, "scale": scale}
    given |= {"patient": patient, SPREAD: spread, CALIBRATION: calibration, GENE_SETS: sets}
    sample = np.asarray(pred)[None] if draws is None else draws
    cards = metric_cards().values() if names is None else [find_metric(name) for name in names]
    more = parameters or {}
    return {
        card.name: _score(card, true, pred, sample, given, more.get(card.name, {}))
        for card in cards
        if _possible(card, given)
    }


def _possible(card: MetricCard, given: dict[str, Any]) -> bool:
    known = all(need in (DRAWS, SPREAD, CALIBRATION) or given.get(need) is not None for need in card.needs)
    return known and not lacking_modules(card)


def _score(
    card: MetricCard,
    true: ArrayLike,
    pred: ArrayLike,
    draws: ArrayLike,
    given: dict[str, Any],
    parameters: Mapping[str, Any],
) -> Score:
    keywords = {KEYWORDS[need]: given[need] for need in card.needs if need != DRAWS}
    entry, sample = load_entry(card.entry), draws if DRAWS in card.needs else pred
    with _answering(card.name):
        found = entry(true, sample, **keywords, **{**card.settings, **parameters})
    return found if isinstance(found, Score) else Score(found)


@contextmanager
def _answering(name: str) -> Iterator[None]:
    """What a metric raises names it: it may be foreign code, and ends one run's scoring, not the command."""
    try:
        yield
    except StbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(
            f"metric {name}: expected a score, found {named(error)}; mend it, or uninstall the package that brings it"
        ) from error
