"""One method on one task: claim a folder, let a worker fit and predict, score what it left, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stbench.catalogue import MethodCard, code_of
from stbench.errors import DataError, SettingError, UserError
from stbench.evaluation.describe import described, write_model_facts
from stbench.evaluation.folder import FACTS, RunKey, claim, finished_record
from stbench.evaluation.given import sight_of
from stbench.evaluation.hardware import hardware, versions
from stbench.evaluation.kept_draws import check_whole, keep_draws
from stbench.evaluation.measured import measured
from stbench.evaluation.model import is_damaged
from stbench.evaluation.predictions import StoredPrediction, digest_of, read_prediction
from stbench.evaluation.pretrained import pretrained_of
from stbench.evaluation.record import Record, Tuned, write_record
from stbench.evaluation.scoring import ScoreBook
from stbench.evaluation.spread import Residuals, Spread
from stbench.evaluation.task import NO_ENCODER, Task
from stbench.evaluation.worker import Job, Report, work
from stbench.methods.calibration import check_draws
from stbench.methods.registry import method_class, resolve_settings
from stbench.reporting import SILENT, Reporter

FEATURES = "features"
Worker = Callable[[Job, Reporter], Report]


@dataclass(frozen=True)
class Prepared:
    """A run whose folder is claimed; what is left to do is the worker's job, and then to score it.

    Args:
        task: what is predicted from what.
        job: what a worker is handed.
        command: what the user typed, kept in the record.
        request: everything the user asked for, kept in the record.
        tuned: how the settings were chosen, kept in the record.
    """

    task: Task
    job: Job
    command: str
    request: Mapping[str, Any]
    tuned: Tuned | None = None


def declared_draws(card: MethodCard, asked: int | None) -> int:
    """Samples a run draws per slide: what was asked for, else the card's; always the card's one for point predictions.

    Raises:
        SettingError: fewer than one.
    """
    if asked is not None and asked < 1:
        raise SettingError(f"expected at least 1 draw, found {asked}; leave --draws out for the method's own number")
    return asked if asked is not None and samples(card) else card.draws


def samples(card: MethodCard) -> bool:
    """Whether what a method draws are samples, not one point prediction."""
    return card.kind == "generative" or card.draws > 1


def run_method(
    task: Task,
    card: MethodCard,
    *,
    folder: Path,
    preset: str = "paper",
    overrides: Mapping[str, str] | None = None,
    seed: int = 0,
    draws: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    command: str = "",
    request: Mapping[str, Any] | None = None,
    reporter: Reporter = SILENT,
    worker: Worker = work,
) -> Record:
    """Run a method on a task and leave its record, predictions, checkpoint and log in a folder.

    A method that refuses the task or fails on it leaves a record that says so; with ``resume`` a failed run is tried
    again, a finished one is returned as it is.

    Args:
        task: what to predict from what.
        card: the method.
        folder: where the run is kept.
        preset: name of the preset; one the method does not have means its defaults.
        overrides: setting name to text, applied over the preset.
        seed: seed of fitting and sampling.
        draws: samples per slide; the card's number when None, and always for point predictions.
        device: torch device string.
        resume: whether the folder may hold an earlier attempt of the same run.
        command: what the user typed, kept in the record.
        request: everything the user asked for, kept in the record.
        reporter: where messages and progress go.
        worker: who fits and predicts; the function itself does it in this process.

    Returns:
        The record, with status ``done``, ``refused`` or ``failed``.

    Raises:
        UserError: a setting or an input is wrong, or the folder belongs to something else.
    """
    prepared = prepare(
        task, card, folder=folder, preset=preset, overrides=overrides, seed=seed, draws=draws, device=device,
        resume=resume, command=command, request=request, reporter=reporter,
    )  # fmt: skip
    return prepared if isinstance(prepared, Record) else conclude(prepared, worker(prepared.job, reporter))


def prepare(
    task: Task,
    card: MethodCard,
    *,
    folder: Path,
    preset: str,
    overrides: Mapping[str, str] | None = None,
    seed: int = 0,
    draws: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    command: str = "",
    request: Mapping[str, Any] | None = None,
    tuned: Tuned | None = None,
    reporter: Reporter = SILENT,
) -> Prepared | Record:
    """Claim the folder of a run; the arguments are those of :func:`run_method`, and how its settings were chosen.

    Returns:
        What is left to do, or the record of a run that is finished or refused from the start.

    Raises:
        UserError: a setting or an input is wrong, or the folder belongs to something else.
    """
    settings = resolve_settings(card, method_class(card), preset, dict(overrides or {}))
    said, n_draws = settings.model_dump(mode="json"), declared_draws(card, draws)
    check_draws(settings, n_draws)
    key = RunKey(
        task=task.facts.hash, method=card.name, entry=card.entry, settings=said, seed=seed, draws=n_draws,
        code=code_of(card),
    )  # fmt: skip
    place = claim(folder, key, resume=resume, reporter=reporter)
    finished = finished_record(place.path, reporter)
    if finished is not None and not is_damaged(place.path):
        return finished
    place.log("start", resumed=place.continues, preset=preset, **key.model_dump())
    blind = lacks_pictures(task, card)
    try:
        sight = sight_of(card.kind) if method_class(card).predicts else "inputs"
        given = task.given(NO_ENCODER if blind else encoder_of(card), sight)
    except UserError:
        place.abandon()
        raise
    facts = {"task": key.task, "method": key.method, "seed": seed, "draws": n_draws, "origin": task.facts.origin}
    facts["scale"] = task.facts.normalization
    scale = task.settings.normalization
    job = Job(place, card, preset, device, tuple(task.facts.genes), scale, facts, given)
    prepared = Prepared(task, job, command, dict(request or {}), tuned)
    if finished is not None:
        reporter.info(f"{place.path / FACTS} is damaged; it is written again")
        _keep_model(prepared, finished)
        return finished
    return conclude(prepared, Report("refused", blind)) if blind else prepared


def conclude(prepared: Prepared, report: Report) -> Record:
    """Score what a worker left and write the record; a finished record is never replaced by a failed one.

    Raises:
        UserError: the worker found that a setting or an input is wrong, or the record cannot be written.
    """
    place = prepared.job.folder
    if report.status == "misused":
        place.abandon()
        raise UserError(report.reason)
    record = _scored(prepared, report) if report.status == "done" else _record(prepared, report)
    if record.status == "failed" and (finished := finished_record(place.path)) is not None:
        return finished
    if record.status == "done" and sight_of(record.kind) == "inputs":
        _keep_model(prepared, record)
    write_record(record, place.path)
    place.log(record.status, reason=record.reason, seconds=record.seconds)
    if record.status != "failed":
        place.finish()
    return record


def _keep_model(prepared: Prepared, record: Record) -> None:
    """What ``stbench predict`` needs besides the checkpoint."""
    job, task = prepared.job, prepared.task
    facts = described(
        task, job.card, job.given, job.folder.checkpoint, encoder=encoder_of(job.card) or task.settings.encoder,
        preset=record.preset, settings=record.settings, seed=record.seed, draws=record.draws,
        seconds=record.seconds.get("fit", 0.0), device=job.device, command=record.command, request=record.request,
    )  # fmt: skip
    write_model_facts(facts, job.folder.path)


def encoder_of(card: MethodCard) -> str | None:
    """Encoder of a method's features; a control that does not ask for features never sees the image."""
    blind = card.kind in ("control", "oracle", "ceiling", "reference") and FEATURES not in card.needs
    return NO_ENCODER if blind else card.encoder


def lacks_pictures(task: Task, card: MethodCard) -> str | None:
    """Why a method bound to an encoder of its own gets no features; the task's encoder must work and is not asked."""
    bound = encoder_of(card)
    if bound in (None, NO_ENCODER, task.settings.encoder) or not task.without_picture:
        return None
    without, all_ = len(task.without_picture), len(task.facts.n_spots)
    return f"needs pictures for its encoder {bound}, found none on {without} of {all_} slides"


def _scored(prepared: Prepared, report: Report) -> Record:
    """The record of a run that is done; predictions that are not there or damaged make it a failed one."""
    job, task, start = prepared.job, prepared.task, time.perf_counter()
    try:
        if not method_class(job.card).predicts:
            return _measured(prepared, report)
        digests, spread = _validated(prepared)
        book = ScoreBook(
            sampler=job.folder.key.draws == 1 and samples(job.card), spread=spread, calibration=report.calibration
        )
        for slide in task.test:
            stored = _read(job, slide.inputs.slide_id)
            book.add(slide, stored.prediction)
            digests[slide.inputs.slide_id] = _kept(prepared, stored)
    except DataError as error:
        return _record(prepared, Report("failed", str(error), report.seconds, report.notes))
    done = replace(report, seconds={**report.seconds, "score": time.perf_counter() - start})
    scores = book.scores() | {"draws": book.n_draws}
    if task.gene_sets is not None:
        scores["gene_sets"] = task.gene_sets.facts(task.facts.genes)
    return _record(prepared, done, scores, digests)


def _measured(prepared: Prepared, report: Report) -> Record:
    """The record of what predicts nothing."""
    task, start = prepared.task, time.perf_counter()
    slides = {id_: task.kept(id_) for id_ in task.facts.patients}
    found = measured(task.facts, slides, prepared.job.card)
    seconds = {**report.seconds, "score": time.perf_counter() - start}
    if isinstance(found, str):
        return _record(prepared, Report("refused", found, seconds, report.notes))
    return _record(prepared, replace(report, seconds=seconds), found)


def _validated(prepared: Prepared) -> tuple[dict[str, str], Spread]:
    """Hashes of the predictions of validation slides, and how far they lie from the truth."""
    truth, digests, residuals = prepared.task.validation, {}, Residuals()
    for id_ in prepared.job.given.validation:
        stored = _read(prepared.job, id_)
        residuals.add(truth[id_], stored.prediction)
        digests[id_] = _kept(prepared, stored)
    return digests, residuals.spread()


def _read(job: Job, slide_id: str) -> StoredPrediction:
    spots = job.given.facts[slide_id].spot_ids
    stored = read_prediction(job.folder.path, slide_id, spot_ids=spots, genes=job.genes, facts=job.facts)
    check_whole(stored, job.folder.path)
    return stored


def _kept(prepared: Prepared, stored: StoredPrediction) -> str:
    """Hash of what stays of a prediction that was scored."""
    return digest_of(keep_draws(prepared.job.folder.path, stored, prepared.request))


def _record(
    prepared: Prepared,
    report: Report,
    scores: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
) -> Record:
    job, task = prepared.job, prepared.task
    key, card = job.folder.key, job.card
    return Record(
        status="failed" if report.status == "misused" else report.status,
        reason=report.reason,
        task=task.facts,
        method=card.name,
        title=card.title,
        kind=card.kind,
        entry=card.entry,
        code=key.code,
        preset=job.preset,
        settings=key.settings,
        seed=key.seed,
        encoder=job.given.encoder,
        pretrained=pretrained_of(card, key.settings),
        tuned=prepared.tuned,
        preset_saw=card.tuned.get(job.preset, {}),
        calibration=report.calibration,
        command=prepared.command,
        request=dict(prepared.request),
        **{"draws": key.draws, **(scores or {})},
        predictions=dict(digests or {}),
        seconds={step: round(seconds, 3) for step, seconds in (task.seconds | report.seconds).items()},
        peak_memory_mb=report.peak_mb,
        peak_gpu_memory_mb=report.peak_gpu_mb,
        hardware=hardware(job.device),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=report.notes,
    )
