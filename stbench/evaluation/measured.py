"""Rows that are measured on the truth of test slides: ceilings, and references of domains."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from stbench.catalogue import MethodCard, dataset_cards
from stbench.data.slide import Slide
from stbench.evaluation.record import TaskFacts
from stbench.evaluation.scoring import ScoreBook
from stbench.methods.controls.measured import MeasuredCeiling, References
from stbench.methods.registry import method_class
from stbench.metrics import Ceiling, Score
from stbench.metrics.score import RULES

METRICS = ("pcc", "mse", "gsc", "ssc")
NO_NEIGHBOUR = "needs a neighbouring cut of a test slide among the slides of the task, found none"
NO_DOMAINS = "needs tissue domains on a test slide, found none"


Measurement = dict[str, Any]
"""What a record holds of scores, by the names of its fields."""


def measured(facts: TaskFacts, slides: Mapping[str, Slide], card: MethodCard) -> Measurement | str:
    """Measure a ceiling, or the references of domains, on the test slides of a task.

    Args:
        facts: the task.
        slides: its slides with the columns of the panel.
        card: of what is measured.

    Returns:
        Its scores; why there are none where no test slide has what it takes.

    Raises:
        DataError: a slide has no raw counts, or no total counts.
    """
    method = method_class(card)()
    if isinstance(method, References):
        return _references(method, facts, slides)
    assert isinstance(method, MeasuredCeiling)
    return _ceiling(method, facts, slides)


def _ceiling(method: MeasuredCeiling, facts: TaskFacts, slides: Mapping[str, Slide]) -> Measurement | str:
    book, any_ = ScoreBook(sampler=False), False
    for slide_id in facts.test:
        neighbours = [slides[other] for other in neighbours_of(facts, slide_id)]
        found = method.measure(slides[slide_id], neighbours, facts.scale)
        any_ |= found is not None
        book.put(slide_id, _scores(found, facts.n_genes))
    return book.scores() if any_ else NO_NEIGHBOUR


def _references(method: References, facts: TaskFacts, slides: Mapping[str, Slide]) -> Measurement | str:
    books: dict[str, ScoreBook] = {}
    for slide_id in facts.test:
        for row, scores in (method.measure(slides[slide_id], facts.scale) or {}).items():
            books.setdefault(row, ScoreBook(sampler=False)).put(slide_id, scores)
    return {"references": {row: book.metrics() for row, book in books.items()}, "rules": RULES} if books else NO_DOMAINS


def neighbours_of(facts: TaskFacts, slide_id: str) -> list[str]:
    """Slides of a task cut just before or after another one of its block, as the card of the cohort says.

    A cohort names its slides by the card's ids or by their sections, as its layout does.
    """
    card = dataset_cards().get(facts.dataset)
    if card is None:
        return []
    sections = {one.id: one.section for one in card.slides}
    named = {name: id_ for id_, section in sections.items() for name in (id_, section) if name in facts.patients}
    ids = {id_: name for name, id_ in named.items()}
    series = next((cuts for cuts in card.neighbours if named.get(slide_id) in cuts), [])
    pairs = [*pairwise(series), *pairwise(series[::-1])]
    return [ids[other] for cut, other in pairs if cut == named.get(slide_id) and other in ids]


def _scores(found: Ceiling | None, n_genes: int) -> dict[str, Score]:
    """Scores by the names of metrics; undefined where nothing could be measured."""
    if found is None:
        return {name: Score(None, 0, n_genes, reason=NO_NEIGHBOUR) for name in METRICS}
    return {name: getattr(found, name) for name in METRICS}
