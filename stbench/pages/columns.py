"""Columns of tables and panels of figures, as the cards of metrics declare them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from stbench.catalogue import MetricCard, metric_cards

Place = Literal["board", "run", "curve"]
DRAW_SD = "-draw-sd"
"""Ends the name of a column: sample standard deviation over draws of the metric's mean over slides (paper, Table 9)."""
_DRAW_SD_DECIMALS = 4  # as the paper prints them
_DECIMALS = 3  # of a metric without a card
_ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}


def columns(place: Place, held: Collection[str] | None = None) -> list[str]:
    """Metrics that a place shows unasked, in the order of their cards.

    Args:
        place: ``board`` (leaderboards), ``run`` (the table after a run) or ``curve`` (sweeps and ablations).
        held: metrics that there are numbers of; all are taken when None.
    """
    cards = sorted(metric_cards().values(), key=lambda card: (card.order, card.name))
    return [card.name for card in cards if place in card.columns and (held is None or card.name in held)]


def title(metric: str) -> str:
    """``PCC ↑``: title of a column with the direction that is better; the name itself without a card."""
    if metric.endswith(DRAW_SD):
        base = _card(metric.removesuffix(DRAW_SD))
        return f"{base.title if base else metric.removesuffix(DRAW_SD)}, sd over draws"
    card = _card(metric)
    return f"{card.title}{_ARROWS[card.direction]}" if card else metric


def direction(metric: str) -> str:
    """Which values are better: ``higher``, ``lower`` or ``none``."""
    card = _card(metric)
    return card.direction if card else "none"


def decimals(metric: str) -> int:
    """Decimals of a number in this column."""
    if metric.endswith(DRAW_SD):
        return _DRAW_SD_DECIMALS
    card = _card(metric)
    return card.decimals if card else _DECIMALS


def _card(metric: str) -> MetricCard | None:
    return metric_cards().get(metric)
