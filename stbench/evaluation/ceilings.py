"""Rows that bound what is possible on generated slides, where it is known how what is seen came from what is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stbench.data.semisynthetic.ceiling import best_from_own_spot
from stbench.data.simulator.ceiling import best_possible
from stbench.data.slide import Slide
from stbench.errors import SettingError
from stbench.evaluation.hardware import hardware, versions
from stbench.evaluation.predictions import SlidePrediction
from stbench.evaluation.record import Origin, Record, write_record
from stbench.evaluation.scoring import ScoreBook
from stbench.evaluation.task import NO_ENCODER, Task


@dataclass(frozen=True)
class Ceiling:
    """A best possible prediction.

    Args:
        name: of its row.
        meaning: what is known to it.
        entry: ``module:function`` it comes from.
        predict: slide, genes and scale to (n_spots, n_genes) on that scale.
    """

    name: str
    meaning: str
    entry: str
    predict: Callable[[Slide, list[str], str], NDArray[np.float32]]


_SIMULATOR = f"{best_possible.__module__}:{best_possible.__name__}"
CEILINGS: dict[Origin, tuple[Ceiling, ...]] = {
    "simulated": (
        Ceiling(
            "best-from-image",
            "posterior mean given the image and the patient, read without error",
            _SIMULATOR,
            lambda slide, genes, scale: best_possible(slide, genes, scale).visible,
        ),
        Ceiling(
            "best-from-truth",
            "posterior mean given everything but the noise of counting",
            _SIMULATOR,
            lambda slide, genes, scale: best_possible(slide, genes, scale).full,
        ),
    ),
    "semi-synthetic": (
        Ceiling(
            "best-from-own-spot",
            "best guess of a gene given its noisy value in the spot's features and its distribution on the slide",
            f"{best_from_own_spot.__module__}:{best_from_own_spot.__name__}",
            best_from_own_spot,
        ),
    ),
}
"""Origin of a cohort to its ceilings; cohorts of real slides have none."""


def write_ceilings(task: Task, out: Path, command: str) -> Iterator[Record]:
    """Score the best possible predictions of a generated cohort; no cohort of real slides has them.

    They bound the squared error from below, and PCC up to the finite number of spots; GSC and SSC of a posterior mean
    are no bounds, as averages are smoother than what they average.

    Args:
        task: what is predicted.
        out: each record goes to ``out/<name>``.
        command: what the user typed, kept in the record.

    Yields:
        One record per ceiling, refused where it is not known on the task's scale; none for real slides.
    """
    for ceiling in CEILINGS.get(task.facts.origin, ()):
        (out / ceiling.name).mkdir(parents=True, exist_ok=True)
        record = _record(task, ceiling, command)
        write_record(record, out / ceiling.name)
        yield record


def _record(task: Task, ceiling: Ceiling, command: str) -> Record:
    book, reason = ScoreBook(sampler=False), None
    try:
        _score(task, ceiling, book)
    except SettingError as error:
        reason = str(error)
    return Record(
        status="done" if reason is None else "refused",
        reason=reason,
        task=task.facts,
        method=ceiling.name,
        title=ceiling.meaning,
        kind="ceiling",
        entry=ceiling.entry,
        preset="",
        settings={},
        seed=0,
        draws=1,
        encoder=NO_ENCODER,
        command=command,
        metrics=book.metrics(),
        hardware=hardware("cpu"),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _score(task: Task, ceiling: Ceiling, book: ScoreBook) -> None:
    for slide in task.slides(NO_ENCODER).test:
        kept = task.kept(slide.inputs.slide_id)
        best = ceiling.predict(kept, task.facts.genes, task.settings.normalization)
        book.add(kept.id, slide.expression, slide.inputs.xy, slide.log_depth, SlidePrediction(best[None]))
