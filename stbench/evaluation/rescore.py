"""Score stored predictions again, without running the method; the truth comes from the cohort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stbench.data.normalize import normalize
from stbench.data.opening import open_dataset
from stbench.data.slide import Slide
from stbench.errors import DataError, UserError
from stbench.evaluation.identity import data_digest, slide_digest
from stbench.evaluation.kept import keep_panel
from stbench.evaluation.predictions import digest_of, read_prediction, read_truth
from stbench.evaluation.record import SCHEMA_VERSION, Record, TaskFacts, read_record
from stbench.evaluation.scoring import ScoreBook
from stbench.evaluation.task import TestSlide
from stbench.features.encoders import needs_pictures
from stbench.methods.base import SlideInputs
from stbench.metrics import score_slide
from stbench.reporting import SILENT, Reporter

Parameters = Mapping[str, Mapping[str, Any]]


@dataclass
class Truths:
    """Test slides of the tasks that records name, read from their cohorts again; those of the last task are kept.

    Args:
        data_root: folder that holds one folder per cohort.
        cache_dir: where generated slides lie.
        reporter: where progress goes.
    """

    data_root: Path | None
    cache_dir: Path
    reporter: Reporter = SILENT
    _last: tuple[str, dict[str, TestSlide]] | None = field(default=None, init=False)

    def of(self, record: Record) -> dict[str, TestSlide]:
        """Test slides by name, with their truth.

        Raises:
            UserError: the cohort is not there, or its data are not those of the record.
        """
        if self._last is None or self._last[0] != record.task.hash:
            self._last = record.task.hash, self._read(record)
        return self._last[1]

    def _read(self, record: Record) -> dict[str, TestSlide]:
        facts, asked = record.task, record.request
        dataset, simulate = str(asked.get("dataset", facts.dataset)), tuple(asked.get("simulate", ()))
        pictured = needs_pictures(facts.encoder.partition("/")[0])
        cohort, _ = open_dataset(
            dataset, self.data_root, simulate, self.cache_dir, self.reporter, require_image=pictured
        )
        kept = keep_panel((cohort.load(id_) for id_ in sorted(facts.n_spots)), facts.genes, self.cache_dir)
        if data_digest({id_: slide_digest(slide) for id_, slide in kept.items()}) != facts.data_digest:
            raise DataError(
                f"expected the data of task {facts.hash[:8]}, found others in {cohort.name}; give the --data-root it "
                "was run on, or run it again"
            )
        return {id_: scored_slide(kept[id_], facts) for id_ in facts.test}


def scored_slide(slide: Slide, facts: TaskFacts) -> TestSlide:
    """A test slide for scores alone: positions, truth, depth and domains."""
    scale = facts.normalization.partition(":")[0]
    inputs = SlideInputs(slide.id, facts.patients.get(slide.id), slide.xy[:, :0], slide.xy)
    truth = normalize(slide.counts, slide.total_counts, scale)
    return TestSlide(inputs, truth, slide.total_counts, slide.spot_ids, slide.domains)


def rescore(folder: Path, truths: Truths, parameters: Parameters | None = None) -> Record:
    """The record of a run with the scores that today's metrics give its stored predictions; nothing is written.

    Args:
        folder: what :func:`stbench.evaluation.run.run_method` wrote.
        truths: where the truth comes from.
        parameters: metric to keywords of its entry; only these metrics are scored then. None takes all as they are.

    Raises:
        DataError: the record or a prediction is missing or damaged, or a prediction is not the one that was scored.
        UserError: the cohort is not there.
    """
    record = read_record(folder)
    if record.status != "done":
        return record
    scorer = partial(score_slide, names=list(parameters), parameters=parameters) if parameters else score_slide
    book = ScoreBook(sampler=bool(record.metrics_single_draw), scorer=scorer)
    for slide_id in record.task.test:
        stored = read_prediction(folder, slide_id, genes=record.task.genes)
        expected = record.predictions.get(slide_id)
        if expected not in (None, digest_of(stored.prediction)):
            raise DataError(
                f"{folder}: expected the prediction of slide {slide_id} that was scored, found another; run it again"
            )
        book.add(_truth(folder, record, slide_id, truths), stored.prediction)
    return record.model_copy(update={**book.scores(), "schema_version": SCHEMA_VERSION})


def _truth(folder: Path, record: Record, slide_id: str, truths: Truths) -> TestSlide:
    """From the cohort; from the file itself where an earlier version stored it there."""
    stored = read_truth(folder, slide_id)
    if stored is None:
        return truths.of(record)[slide_id]
    found = read_prediction(folder, slide_id)
    inputs = SlideInputs(slide_id, record.task.patients.get(slide_id), found.xy[:, :0], found.xy)
    return TestSlide(inputs, *stored, found.spot_ids)


def rescored(paths: Iterable[Path], truths: Truths, reporter: Reporter = SILENT) -> list[tuple[Path, Record]]:
    """Every ``record.json`` of finished runs, scored again, by task so that each cohort is read once.

    Raises:
        UserError: a cohort is not there, or a prediction is missing or damaged.
    """
    found: list[tuple[Path, Record]] = [(path, read_record(path)) for path in paths]
    ordered = sorted(found, key=lambda pair: (pair[1].task.hash, str(pair[0])))
    with reporter.track("scoring again", len(ordered)) as advance:
        made = []
        for path, _ in ordered:
            made.append((path, rescore(_folder(path), truths)))
            advance(note=path.parent.name)
    return made


def _folder(path: Path) -> Path:
    if path.is_file() and path.name != "record.json":
        raise UserError(f"expected the folder of a run, found {path}; its predictions are needed to score it again")
    return path.parent if path.is_file() else path
