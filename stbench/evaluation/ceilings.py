"""Rows that bound what is possible on simulated slides, where the distribution behind the counts is known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from stbench.data.simulator.ceiling import best_possible
from stbench.evaluation.hardware import hardware, versions
from stbench.evaluation.predictions import SlidePrediction
from stbench.evaluation.record import Record, write_record
from stbench.evaluation.scoring import ScoreBook
from stbench.evaluation.task import NO_ENCODER, Task

CEILINGS = {
    "visible": ("best-from-image", "posterior mean given the image and the patient, read without error"),
    "full": ("best-from-truth", "posterior mean given everything but the noise of counting"),
}
"""Member of :class:`stbench.data.simulator.ceiling.BestPossible` to the name and meaning of its row."""


def write_ceilings(task: Task, out: Path, command: str) -> Iterator[Record]:
    """Score the best possible predictions of a simulated cohort; no cohort of real slides has them.

    They bound the squared error from below, and PCC up to the finite number of spots; GSC and SSC of a posterior mean
    are no bounds, as averages are smoother than what they average.

    Args:
        task: what is predicted.
        out: each record goes to ``out/<name>``.
        command: what the user typed, kept in the record.

    Yields:
        One record per ceiling; none for real slides.
    """
    for member, (name, meaning) in CEILINGS.items() if task.facts.simulated else ():
        (out / name).mkdir(parents=True, exist_ok=True)
        record = _record(task, member, name, meaning, command)
        write_record(record, out / name)
        yield record


def _record(task: Task, member: str, name: str, meaning: str, command: str) -> Record:
    book = ScoreBook(sampler=False)
    for slide in task.test:
        kept = task.kept(slide.inputs.slide_id)
        best = getattr(best_possible(kept, task.facts.genes, task.settings.normalization), member)
        book.add(kept.id, slide.expression, slide.inputs.xy, slide.log_depth, SlidePrediction(best[None]))
    return Record(
        status="done",
        task=task.facts,
        method=name,
        title=meaning,
        kind="ceiling",
        entry=f"{best_possible.__module__}:{best_possible.__name__}",
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
