"""One method on one task: fit, predict, check, score, record."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.catalogue import MethodCard
from stbench.errors import DataError, RunFailedError, SettingError, UserError
from stbench.evaluation.folder import RunFolder, RunKey, claim
from stbench.evaluation.hardware import PeakMemory, hardware, versions
from stbench.evaluation.predictions import SlidePrediction, prediction_path, read_prediction, write_prediction
from stbench.evaluation.record import FILE_NAME, Record, read_record, write_record
from stbench.evaluation.scoring import ScoreBook
from stbench.evaluation.task import NO_ENCODER, Task, TaskSlides, TestSlide
from stbench.methods.base import Context, Method
from stbench.methods.registry import method_class, resolve_settings
from stbench.reporting import SILENT, Reporter
from stbench.text import duration, first_line

FEATURES = "features"
_WORTH_SAYING_S = 20
_LONG_S = 600


@dataclass
class _Run:
    """What the steps of a run share."""

    task: Task
    card: MethodCard
    preset: str
    command: str
    device: str
    reporter: Reporter
    folder: RunFolder
    method: Method
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def declared_draws(card: MethodCard, asked: int | None) -> int:
    """Samples a run draws per slide: what was asked for, else the card's; always the card's one for point predictions.

    Raises:
        SettingError: fewer than one.
    """
    if asked is not None and asked < 1:
        raise SettingError(f"expected at least 1 draw, found {asked}; leave --draws out for the method's own number")
    samples = card.kind == "generative" or card.draws > 1
    return asked if asked is not None and samples else card.draws


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
    reporter: Reporter = SILENT,
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
        reporter: where messages and progress go.

    Returns:
        The record, with status ``done``, ``refused`` or ``failed``.

    Raises:
        UserError: a setting or an input is wrong, or the folder belongs to something else.
    """
    cls = method_class(card)
    settings = resolve_settings(card, cls, preset, dict(overrides or {}))
    n_draws = declared_draws(card, draws)
    said = settings.model_dump(mode="json")
    key = RunKey(task=task.facts.hash, method=card.name, entry=card.entry, settings=said, seed=seed, draws=n_draws)
    place = claim(folder, key, resume=resume)
    finished = _finished(place)
    if finished is not None:
        return finished
    run = _Run(task, card, preset, command, device, reporter, place, cls(settings))
    try:
        return _attempt(run)
    except UserError:
        place.abandon()
        raise


def _finished(folder: RunFolder) -> Record | None:
    if not (folder.path / FILE_NAME).is_file():
        return None
    record = read_record(folder.path)
    return None if record.status == "failed" else record


def _attempt(run: _Run) -> Record:
    key = run.folder.key
    run.folder.log("start", resumed=run.folder.continues, preset=run.preset, **key.model_dump())
    with PeakMemory(run.device) as memory:
        blind = _lacks_pictures(run)
        slides = run.task.slides(NO_ENCODER if blind else _encoder(run.card), oracle=run.card.kind == "oracle")
        record = _record(run, slides, "refused", blind) if blind else _guarded(run, slides)
    record = record.model_copy(update={"peak_memory_mb": round(memory.mb, 1), "peak_gpu_memory_mb": memory.gpu_mb})
    write_record(record, run.folder.path)
    run.folder.log(record.status, reason=record.reason, seconds=run.seconds)
    run.folder.finish()
    return record


def _encoder(card: MethodCard) -> str | None:
    """Encoder of the method's features; a control that does not ask for features never sees the image."""
    blind = card.kind in ("control", "oracle") and FEATURES not in card.needs
    return NO_ENCODER if blind else card.encoder


def _lacks_pictures(run: _Run) -> str | None:
    """Why a method bound to an encoder of its own gets no features; the task's encoder must work and is not asked."""
    bound = _encoder(run.card)
    without = run.task.without_picture
    if bound in (None, NO_ENCODER, run.task.settings.encoder) or not without:
        return None
    return (
        f"needs pictures for its encoder {bound}, found none on {len(without)} of {len(run.task.facts.n_spots)} slides"
    )


def _guarded(run: _Run, slides: TaskSlides) -> Record:
    """Whatever goes wrong inside a method ends as a row of the leaderboard, not as the end of a sweep."""
    try:
        return _steps(run, slides)
    except UserError:
        raise
    except RunFailedError as error:
        return _failure(run, slides, str(error))
    except Exception as error:  # noqa: BLE001  the method is foreign code: any exception of it is its result
        return _failure(run, slides, f"{type(error).__name__}: {error}")


def _failure(run: _Run, slides: TaskSlides, reason: str) -> Record:
    run.folder.log("traceback", text=traceback.format_exc())
    return _record(run, slides, "failed", first_line(reason))


def _steps(run: _Run, slides: TaskSlides) -> Record:
    key = run.folder.key
    context = Context(
        genes=tuple(run.task.facts.genes),
        seed=key.seed,
        device=run.device,
        workdir=run.folder.work,
        resume=run.folder.continues,
        reporter=run.reporter,
    )
    inputs = [slide.inputs for slide in slides.test]
    reason = run.method.refuse(slides.train, inputs, context)
    if reason is not None:
        return _record(run, slides, "refused", reason)
    if not _restore(run):
        _announce(run, run.method.estimate_seconds(slides.train, inputs, key.draws, context))
        _fit(run, slides, context)
    book = _predict(run, slides)
    return _record(run, slides, "done", None, book)


def _restore(run: _Run) -> bool:
    """Take the fitted method of an earlier attempt, if there is one."""
    if not run.folder.checkpoint.is_file():
        return False
    try:
        run.method = type(run.method).load(run.folder.checkpoint)
    except DataError as error:
        run.reporter.info(str(error))
        run.folder.checkpoint.unlink()
        return False
    run.seconds["fit"] = sum(event["seconds"] for event in run.folder.logged("fit"))
    run.notes.append("resumed after fitting")
    return True


def _announce(run: _Run, estimate: float | None) -> None:
    run.folder.log("estimate", seconds=estimate)
    if estimate is None or estimate <= _WORTH_SAYING_S:
        return
    text = f"{run.card.name}: {duration(estimate)} on {run.device} (measured on a few steps)"
    offers_small = run.device == "cpu" and run.preset != "small" and "small" in run.card.presets
    if offers_small and estimate > _LONG_S:
        text += "; --preset small is made for this machine"
    run.reporter.info(text)


def _fit(run: _Run, slides: TaskSlides, context: Context) -> None:
    run.folder.work.mkdir(exist_ok=True)
    for slide in slides.test:  # none can belong to the weights about to be fitted
        prediction_path(run.folder.path, slide.inputs.slide_id).unlink(missing_ok=True)
    if run.folder.continues:
        run.notes.append("continued an earlier attempt: seconds of fitting are those of the last one")
    seconds = _timed(run, "fit", lambda: run.method.fit(slides.train, slides.validation, context))
    run.method.save(run.folder.checkpoint)
    run.folder.log("fit", seconds=seconds)


def _timed(run: _Run, step: str, action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    run.seconds[step] = run.seconds.get(step, 0.0) + seconds
    return seconds


def _predict(run: _Run, slides: TaskSlides) -> ScoreBook:
    key = run.folder.key
    book = ScoreBook(sampler=key.draws == 1 and run.card.kind == "generative")
    with run.reporter.track(f"{run.card.name} predicts", len(slides.test)) as advance:
        for slide in slides.test:
            start = time.perf_counter()
            prediction = _predict_slide(run, slide)
            predicted = time.perf_counter()
            book.add(slide.inputs.slide_id, slide.expression, slide.inputs.xy, slide.log_depth, prediction)
            spent = {"predict": predicted - start, "score": time.perf_counter() - predicted}
            for step, seconds in spent.items():
                run.seconds[step] = run.seconds.get(step, 0.0) + seconds
            run.folder.log("slide", slide=slide.inputs.slide_id, seconds=spent)
            advance(note=slide.inputs.slide_id)
    return book


def _predict_slide(run: _Run, slide: TestSlide) -> SlidePrediction:
    key, inputs = run.folder.key, slide.inputs
    if prediction_path(run.folder.path, inputs.slide_id).is_file():
        try:
            return read_prediction(run.folder.path, inputs.slide_id).prediction
        except DataError as error:
            run.reporter.info(str(error))
    genes = run.task.facts.genes
    shape = (inputs.n_spots, len(genes))
    drawn = run.method.predict(inputs, key.draws, key.seed)
    # a sampler may be switched to one point prediction, e.g. FLAG without diffusion
    n_draws = 1 if np.ndim(drawn) == 3 and len(drawn) == 1 else key.draws
    drawn = check_prediction(drawn, (n_draws, *shape), inputs.slide_id)
    mean = run.method.predict_mean(inputs, key.seed)
    if mean is not None:
        mean = check_prediction(mean, shape, inputs.slide_id)
    prediction = SlidePrediction(drawn, mean)
    facts = {"task": key.task, "method": key.method, "seed": key.seed, "scale": run.task.facts.normalization}
    facts["origin"] = run.task.facts.origin
    write_prediction(run.folder.path, slide, genes, prediction, facts)
    return prediction


def check_prediction(found: Any, shape: tuple[int, ...], slide_id: str) -> NDArray[np.float32]:
    """What a method returned, if it is what the interface promises.

    Args:
        found: the method's answer.
        shape: expected shape, (n_draws, n_spots, n_genes) or without draws.
        slide_id: name of the slide, for the message.

    Raises:
        RunFailedError: another shape or type than float32, or a value that is not finite.
    """
    expected = f"slide {slide_id}: expected a prediction of shape {shape} in float32"
    if not isinstance(found, np.ndarray):
        raise RunFailedError(f"{expected}, found {type(found).__name__}")
    if found.shape != shape or found.dtype != np.float32:
        raise RunFailedError(f"{expected}, found {found.shape} in {found.dtype}")
    n_broken = int(np.count_nonzero(~np.isfinite(found)))
    if n_broken:
        raise RunFailedError(f"slide {slide_id}: {n_broken} of {found.size} predicted values are not finite")
    return found


def _record(run: _Run, slides: TaskSlides, status: Any, reason: str | None, book: ScoreBook | None = None) -> Record:
    key = run.folder.key
    return Record(
        status=status,
        reason=reason,
        task=run.task.facts,
        method=run.card.name,
        title=run.card.title,
        kind=run.card.kind,
        entry=run.card.entry,
        preset=run.preset,
        settings=key.settings,
        seed=key.seed,
        draws=book.n_draws if book else key.draws,
        encoder=slides.encoder,
        command=run.command,
        metrics=book.metrics() if book else {},
        metrics_single_draw=book.metrics_single_draw() if book else {},
        metrics_posterior_mean=book.metrics_posterior_mean() if book else {},
        seconds={step: round(seconds, 3) for step, seconds in run.seconds.items()},
        hardware=hardware(run.device),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=run.notes,
    )
