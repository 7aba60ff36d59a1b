"""Score stored predictions again, without running the method; the truth comes from the cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.crossing import crossed
from stbench.data.normalize import normalize
from stbench.data.opening import open_dataset
from stbench.data.secret import Secret, check_secret, read_secret
from stbench.data.slide import Slide
from stbench.errors import DataError
from stbench.evaluation.gene_sets import GeneSetFile, sets_again
from stbench.evaluation.given import sight_of
from stbench.evaluation.identity import data_digest, slide_digest
from stbench.evaluation.kept import keep_panel
from stbench.evaluation.kept_draws import check_kept, check_whole
from stbench.evaluation.measured import measured
from stbench.evaluation.predictions import AGAIN, StoredPrediction, digest_of, read_prediction, read_truth
from stbench.evaluation.record import (
    FILE_NAME,
    PRIMARY,
    SCHEMA_VERSION,
    Record,
    Summary,
    TaskFacts,
    find_records,
    read_record,
)
from stbench.evaluation.scoring import ScoreBook
from stbench.evaluation.spread import Residuals, Spread
from stbench.evaluation.task import TestSlide
from stbench.features.encoders import needs_pictures
from stbench.methods.base import SlideInputs
from stbench.methods.registry import find_method
from stbench.metrics import score_slide
from stbench.metrics.summary import uninstalled
from stbench.reporting import SILENT, Reporter
from stbench.text import count, listed

Parameters = Mapping[str, Mapping[str, Any]]

_TABLES = ("patients", "genes_table")  # of a request, that a cohort was opened with
_OF_DOMAINS = "domain-ari"  # a record holds it where its slides carry domains


@dataclass
class Truths:
    """Slides of the tasks that records name, read from their cohorts again; those of the last task are kept.

    Args:
        data_root: folder that holds one folder per cohort.
        cache_dir: where generated slides lie.
        reporter: where progress goes.
        secret: file of the seed of generated slides that were made with one.
    """

    data_root: Path | None
    cache_dir: Path
    reporter: Reporter = SILENT
    secret: Path | None = None
    _last: tuple[Any, dict[str, Slide]] | None = field(default=None, init=False)

    def of(self, record: Record) -> dict[str, Slide]:
        """Every slide of a record's task by name, with the panel's columns.

        Raises:
            UserError: the cohort is not there, or its data are not those of the record.
        """
        key = self._key(record)
        if self._last is None or self._last[0] != key:
            self._last = key, self._read(record)
        return self._last[1]

    def _key(self, record: Record) -> Any:
        """Equal where slides are."""
        return record.task.hash

    def _read(self, record: Record) -> dict[str, Slide]:
        facts, (cohort, _) = record.task, self.opened(record)
        kept = keep_panel(_slides(cohort.of_fold(facts.train), facts), facts.genes, self.cache_dir)
        if data_digest({id_: slide_digest(slide) for id_, slide in kept.items()}) != facts.data_digest:
            raise _other_data(cohort, facts)
        return kept

    def opened(self, record: Record) -> tuple[Cohort, DatasetCard]:
        """The cohort of a record's task, joined with the one that tests where that is another, and its card.

        Raises:
            UserError: it is not there, or its secret seed is not the one given.
        """
        facts, asked = record.task, record.request
        dataset, simulate = str(asked.get("dataset", facts.dataset)), tuple(asked.get("simulate", ()))
        pictured, secret = needs_pictures(facts.encoder.partition("/")[0]), self._secret_of(facts)
        places = self.cache_dir, self.reporter
        patients, genes = (None if (said := asked.get(name)) is None else Path(str(said)) for name in _TABLES)
        cohort, card = open_dataset(
            dataset, self.data_root, simulate, *places, require_image=pictured, secret=secret,
            patients=patients, genes_table=genes,
        )  # fmt: skip
        tests = asked.get("test_dataset")
        roots = self.data_root, *places
        return crossed(cohort, card, dataset, tests, *roots, require_image=pictured, genes_table=genes), card

    def _secret_of(self, facts: TaskFacts) -> Secret | None:
        """The seed of a task's slides: the published one, else the one given."""
        if facts.secret is None:
            return None
        if facts.published is not None:
            return check_secret(Secret(facts.published), facts.secret)
        return check_secret(None if self.secret is None else read_secret(self.secret), facts.secret)


def _slides(cohort: Cohort, facts: TaskFacts) -> Iterator[Slide]:
    for id_ in sorted(facts.n_spots):
        if id_ not in cohort.ids:
            raise _other_data(cohort, facts, f" (no slide {id_})")
        slide = cohort.load(id_)
        if absent := [gene for gene in facts.genes if gene not in slide.adata.var_names]:
            raise _other_data(cohort, facts, f" (slide {id_} without gene {absent[0]})")
        yield slide


def _other_data(cohort: Cohort, facts: TaskFacts, how: str = "") -> DataError:
    return DataError(
        f"expected the data of task {facts.hash[:8]}, found others in {cohort.name}{how}; give the --data-root it was "
        "run on, or run it again"
    )


def scored_slide(slide: Slide, facts: TaskFacts) -> TestSlide:
    """A validation or test slide for scores alone: positions, truth, depth and domains."""
    inputs = SlideInputs(slide.id, facts.patients.get(slide.id), slide.xy[:, :0], slide.xy)
    truth = normalize(slide.counts, slide.total_counts, facts.scale)
    return TestSlide(inputs, truth, slide.total_counts, slide.spot_ids, slide.domains, facts.genes, facts.scale)


def rescore(
    folder: Path, truths: Truths, parameters: Parameters | None = None, gene_sets: GeneSetFile | None = None
) -> Record:
    """The record of a run with the scores that today's metrics give its stored predictions; nothing is written.

    Args:
        folder: what :func:`stbench.evaluation.run.run_method` wrote.
        truths: where the truth comes from.
        parameters: metric to keywords of its entry; only these metrics are scored then. None takes all as they are.
        gene_sets: that predictions are scored by too; None takes those that the run was given, if any.

    Raises:
        DataError: the record, a prediction or the gene sets are missing or damaged, or not those that were scored, or
            draws were not kept.
        UserError: the cohort is not there.
    """
    return rescored_record(read_record(folder), folder, truths, parameters, gene_sets)


def rescored_record(
    record: Record,
    folder: Path,
    truths: Truths,
    parameters: Parameters | None = None,
    gene_sets: GeneSetFile | None = None,
) -> Record:
    """As :func:`rescore`, of a record at hand in place of the one in the folder of its predictions."""
    if record.status != "done":
        return record
    if sight_of(record.kind) == "everything" and not record.predictions and record.rules > 1:
        return _measured_again(record, truths)
    sets = gene_sets or sets_again(record)
    scorer = partial(score_slide, names=list(parameters), parameters=parameters) if parameters else score_slide
    check_kept(record, folder)
    sampler = record.draws == 1 and bool(record.metrics_single_draw)
    spread, calibration = _spread(folder, record, truths), _calibration(record, folder)
    book = ScoreBook(sampler=sampler, spread=spread, calibration=calibration, scorer=scorer)
    for slide_id in record.task.test:
        stored = scored_prediction(folder, record, slide_id)
        _check_draws(stored, record, folder)
        slide = truth_of(folder, record, stored, truths)
        within = None if sets is None else sets.within(record.task.genes)
        book.add(replace(slide, sets=within), stored.prediction)
    facts = None if sets is None else sets.facts(record.task.genes)
    return record.model_copy(update={**book.scores(), "gene_sets": facts, "schema_version": SCHEMA_VERSION})


def _check_draws(stored: StoredPrediction, record: Record, folder: Path) -> None:
    check_whole(stored, folder)
    if (n_draws := len(stored.prediction.draws)) != record.draws:
        raise DataError(
            f"{folder}: expected {count(record.draws, 'draw')} of slide {stored.slide_id}, found {n_draws}; {AGAIN}"
        )


def _calibration(record: Record, folder: Path) -> float | None:
    if record.calibrated and record.calibration is None:
        raise DataError(
            f"{folder}: expected what its draws were calibrated with, which records hold since rules 3, found rules "
            f"{record.rules}; {AGAIN}"
        )
    return record.calibration if record.calibrated else None


def _measured_again(record: Record, truths: Truths) -> Record:
    """What predicts nothing, as it is measured today."""
    found = measured(record.task, truths.of(record), find_method(record.method))
    return record if isinstance(found, str) else record.model_copy(update={**found, "schema_version": SCHEMA_VERSION})


def _spread(folder: Path, record: Record, truths: Truths) -> Spread:
    """Residuals on validation slides; unknown for schema 1, which kept no predictions of them."""
    residuals = Residuals()
    for slide_id in record.task.validation:
        if slide_id in record.predictions:
            stored = scored_prediction(folder, record, slide_id)
            residuals.add(truth_of(folder, record, stored, truths).expression, stored.prediction)
    return residuals.spread()


def scored_prediction(folder: Path, record: Record, slide_id: str) -> StoredPrediction:
    """The prediction a record was made from.

    Args:
        folder: the run folder.
        record: its record.
        slide_id: a validation or test slide.

    Raises:
        DataError: it is missing or damaged, or is not the one whose hash the record holds.
    """
    stored = read_prediction(folder, slide_id, genes=record.task.genes)
    if record.predictions.get(slide_id) not in (None, digest_of(stored.prediction)):
        raise DataError(
            f"{folder}: expected the prediction of slide {slide_id} that was scored, found another; {AGAIN}"
        )
    facts = {"task": record.task.hash, "method": record.method, "seed": record.seed}
    if other := [name for name, value in facts.items() if str(stored.facts.get(name, value)) != str(value)]:
        raise DataError(
            f"{folder}: expected the prediction of slide {slide_id} of its record, found one of another "
            f"{listed(other)}; run it again"
        )
    return stored


def truth_of(folder: Path, record: Record, stored: StoredPrediction, truths: Truths) -> TestSlide:
    """The slide of a prediction, its spots in the same order; from the file itself where schema 1 stored it there.

    A record of schema 1 has no hash of it; where there is one, what else lies in the file is not looked at.

    Raises:
        DataError: the prediction is of other spots.
        UserError: the cohort is not there, or its data are not those of the record.
    """
    id_ = stored.slide_id
    if id_ not in record.predictions and (truth := read_truth(folder, id_)) is not None:
        inputs = SlideInputs(id_, record.task.patients.get(id_), stored.xy[:, :0], stored.xy)
        return TestSlide(inputs, *truth, stored.spot_ids)
    slide = scored_slide(truths.of(record)[id_], record.task)
    if slide.spot_ids != stored.spot_ids:
        raise DataError(f"{folder}: expected the spots of slide {id_}, found a prediction of others; {AGAIN}")
    return slide


@dataclass(frozen=True)
class Rescored:
    """A run scored again.

    Args:
        folder: of the run.
        before: its record as it lies there.
        after: the same with new scores; a run that is not done has none and stays as it is.
    """

    folder: Path
    before: Record
    after: Record

    @property
    def moved(self) -> str:
        """What became of the scores: the primary metric, others whose four digits moved, and how many are new."""
        before, after = self.before.metrics, self.after.metrics
        both = [name for name in before if name in after]
        moved = [name for name in both if name != PRIMARY and _digits(before[name]) != _digits(after[name])]
        shown = [name for name in both if name == PRIMARY] + moved
        said = [f"{name} {_digits(before[name])} -> {_digits(after[name])}" for name in shown]
        new, gone = len(after.keys() - before.keys()), len(before.keys() - after.keys())
        said += [f"{count(new, 'new metric')}"] if new else []
        said += [f"{count(gone, 'metric')} gone"] if gone else []
        return ", ".join(said) or "nothing moved"


def _digits(score: Summary) -> str:
    return "-" if score.mean is None else f"{score.mean:.4g}"


def rescored(
    places: Sequence[Path], truths: Truths, reporter: Reporter = SILENT, gene_sets: Path | None = None
) -> list[Rescored]:
    """Every run at or below some folders, scored again, by task so that each cohort is read once; nothing is written.

    Args:
        places: folders, or a ``record.json`` in the folder of its run.
        truths: where the truth comes from.
        reporter: where progress goes.
        gene_sets: file of gene sets; None takes those that each run was given, if any.

    Raises:
        DataError: a place holds no run, or a prediction is missing, damaged or not the one that was scored.
        UserError: a cohort is not there.
    """
    runs = [(path.parent, read_record(path)) for path in find_records([_with_runs(place) for place in places])]
    runs.sort(key=lambda run: (run[1].task.hash, str(run[0])))
    sets = None if gene_sets is None else GeneSetFile.read(gene_sets)
    made, lines = [], dict[str, None]()
    with reporter.track("scoring again", len(runs)) as advance:
        for folder, record in runs:
            made.append(Rescored(folder, record, rescore(folder, truths, gene_sets=sets)))
            lines |= dict.fromkeys(_notes(made[-1].after, sets))
            advance(note=folder.name)
    for line in lines:
        reporter.info(line)
    return made


def _notes(record: Record, sets: GeneSetFile | None) -> list[str]:
    """What its scores lack."""
    said = sets.note(record.task.genes) if sets is not None and record.gene_sets is not None else ""
    without = uninstalled() if record.task.origin == "real" and _OF_DOMAINS in record.metrics else ""
    return [line for line in (said, without) if line]


def _with_runs(place: Path) -> Path:
    if place.is_file() and place.name != FILE_NAME:
        raise DataError(f"expected the folder of a run, found {place}; its predictions are needed to score it again")
    return place
