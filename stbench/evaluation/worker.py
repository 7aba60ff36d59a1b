"""Fit and predict: the part of a run that never holds the truth of a test slide. It leaves predictions on disk."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stbench.catalogue import MethodCard
from stbench.errors import DataError, RunFailedError, UserError
from stbench.evaluation.folder import HISTORY, RunFolder
from stbench.evaluation.given import Given
from stbench.evaluation.hardware import PeakMemory
from stbench.evaluation.kept_draws import check_whole
from stbench.evaluation.needs import unmet, without_validation
from stbench.evaluation.predictions import SlidePrediction, prediction_path, read_prediction, write_prediction
from stbench.evaluation.seals import check_file, seal_file
from stbench.files import remove
from stbench.methods.base import Context, LabelledSlide, Method, SlideInputs
from stbench.methods.calibration import Calibrated, calibrated
from stbench.methods.registry import method_class
from stbench.reporting import Reporter
from stbench.text import duration, first_line, named, one_line

Status = Literal["done", "refused", "failed", "misused"]
_WORTH_SAYING_S = 20
_LONG_S = 600
VALIDATION_DRAWS = 2  # fewest that show a spread: validation slides are scored on no page


@dataclass(frozen=True)
class Job:
    """One method to be fitted and applied.

    Args:
        folder: the claimed folder of the run.
        card: the method.
        preset: name of the preset.
        device: torch device.
        genes: panel, in column order.
        scale: name of the scale of expression.
        facts: strings stored beside every prediction.
        given: what the method gets of the task.
    """

    folder: RunFolder
    card: MethodCard
    preset: str
    device: str
    genes: tuple[str, ...]
    scale: str
    facts: dict[str, Any]
    given: Given


@dataclass(frozen=True)
class Report:
    """How a job ended; its predictions lie in the folder of the run.

    Args:
        status: ``misused`` where an input or a setting is wrong and the user can mend it.
        reason: why it did not get to its end, one line.
        seconds: wall time of fitting, predicting and writing predictions.
        notes: remarks for the record.
        calibration: what draws were calibrated with, None for others.
        peak_mb: peak resident memory of the process.
        peak_gpu_mb: peak of allocated GPU memory, None on a CPU.
    """

    status: Status
    reason: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    calibration: float | None = None
    peak_mb: float | None = None
    peak_gpu_mb: float | None = None


@dataclass
class _Work:
    """What the steps of a job share."""

    job: Job
    reporter: Reporter
    method: Method
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    calibration: float | None = None


def work(job: Job, reporter: Reporter) -> Report:
    """Fit a method and predict validation and test slides; whatever goes wrong in the method is the report's."""
    with PeakMemory(job.device) as memory:
        report = _guarded(job, reporter)
    return replace(report, peak_mb=round(memory.mb, 1), peak_gpu_mb=memory.gpu_mb)


def _guarded(job: Job, reporter: Reporter) -> Report:
    try:
        cls = method_class(job.card)
        state = _Work(job, reporter, calibrated(cls(cls.Settings.model_validate(job.folder.key.settings))))
        reason = _steps(state)
        return Report("done" if reason is None else "refused", reason, state.seconds, state.notes, state.calibration)
    except UserError as error:
        return Report("misused", one_line(error))
    except RunFailedError as error:
        return failure(job, first_line(error))
    except KeyboardInterrupt:  # the user's, where this is not a process of its own
        raise
    except BaseException as error:  # noqa: BLE001  the method is foreign code: whatever it raises is its result
        return failure(job, named(error))


def failure(job: Job, reason: str) -> Report:
    """The report of a job whose method failed; the traceback goes into the log of the run."""
    job.folder.log("traceback", text=traceback.format_exc())
    return Report("failed", reason)


def _steps(state: _Work) -> str | None:
    """Everything; returns why the method cannot run on the task, None if it did."""
    job = state.job
    context = _context(state)
    inputs = job.given.inputs(state.reporter)
    train, validation = job.given.labelled(inputs)
    test = [inputs[id_] for id_ in job.given.test]
    fitted = job.folder.checkpoint.is_file()
    unguided = None if fitted else without_validation(job.card, state.method.settings, len(validation))
    reason = unmet(job.card, inputs.values()) or unguided or state.method.refuse(train, test, context)
    if reason is not None:
        return one_line(str(reason))
    if not _restore(state):
        _announce(state, state.method.estimate_seconds(train, test, job.folder.key.draws, context))
        _fit(state, train, validation, context)
    if isinstance(state.method, Calibrated):
        state.notes.append(state.method.remark(job.folder.key.draws))
        state.calibration = state.method.calibration
    if state.method.predicts:
        _predict(state, inputs)
    return None


def _context(state: _Work) -> Context:
    job = state.job
    return Context(
        genes=job.genes,
        seed=job.folder.key.seed,
        scale=job.scale,
        device=job.device,
        workdir=job.folder.work,
        resume=job.folder.continues,
        reporter=state.reporter,
    )


def _restore(state: _Work) -> bool:
    """Take the fitted method of an earlier attempt, if there is one."""
    folder = state.job.folder
    if not folder.checkpoint.is_file():
        return False
    try:
        check_file(folder.path, folder.checkpoint, must=True)
        state.method = calibrated(method_class(state.job.card).load(folder.checkpoint))
    except Exception as error:  # noqa: BLE001  a method may load itself in its own way
        state.reporter.info(
            f"expected a fitted method in {folder.checkpoint}, found {first_line(error)}; it is fitted again"
        )
        remove(folder.checkpoint)
        return False
    seconds = [event.get("seconds") for event in folder.logged("fit")]
    state.seconds["fit"] = sum(one for one in seconds if isinstance(one, int | float) and np.isfinite(one))
    state.notes.append("resumed after fitting")
    return True


def _announce(state: _Work, estimate: float | None) -> None:
    job = state.job
    job.folder.log("estimate", seconds=estimate)
    announce(job.card, job.preset, job.device, estimate, state.reporter)


def announce(card: MethodCard, preset: str, device: str, estimate: float | None, reporter: Reporter) -> None:
    """Say how many seconds a method is expected to take, where that is long enough to be said."""
    if estimate is None or estimate <= _WORTH_SAYING_S:
        return
    text = f"{card.name}: {duration(estimate)} on {device} (measured on a few steps)"
    offers_small = device == "cpu" and preset != "small" and "small" in card.presets
    if offers_small and estimate > _LONG_S:
        text += "; --preset small is made for this machine"
    reporter.info(text)


def _fit(state: _Work, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
    folder = state.job.folder
    folder.work.mkdir(exist_ok=True)
    for slide_id in state.job.given.facts:  # none can belong to the weights about to be fitted
        remove(prediction_path(folder.path, slide_id))
    if folder.continues:
        state.notes.append("continued an earlier attempt: seconds of fitting are those of the last one")
    with _timed(state, "fit") as seconds:
        state.method.fit(train, validation, context)
    state.method.save(folder.checkpoint)
    seal_file(folder.path, folder.checkpoint)
    if (folder.work / HISTORY).is_file():
        (folder.work / HISTORY).replace(folder.path / HISTORY)
    folder.log("fit", seconds=seconds())


@contextmanager
def _timed(state: _Work, step: str) -> Iterator[Callable[[], float]]:
    """Add the time of the block to a step; yields what says how long it took, once it is over."""
    start, before = perf_counter(), state.seconds.get(step, 0.0)
    yield lambda: state.seconds[step] - before
    state.seconds[step] = before + perf_counter() - start


def _predict(state: _Work, inputs: dict[str, SlideInputs]) -> None:
    job = state.job
    slides = [*job.given.test, *job.given.validation]
    with state.reporter.track(f"{job.card.name} predicts", len(slides)) as advance:
        for slide_id in slides:
            _predict_slide(state, inputs[slide_id])
            advance(note=slide_id)


def _predict_slide(state: _Work, inputs: SlideInputs) -> None:
    job = state.job
    facts = job.given.facts[inputs.slide_id]
    if prediction_path(job.folder.path, inputs.slide_id).is_file():
        try:
            stored = read_prediction(
                job.folder.path, inputs.slide_id, spot_ids=facts.spot_ids, genes=job.genes, facts=job.facts, sealed=True
            )
            check_whole(stored, job.folder.path)  # an attempt may have ended between its scores and its record
            return
        except DataError as error:
            state.reporter.info(f"{str(error).rpartition(';')[0]}; it is made again")
    with _timed(state, "predict") as seconds:
        prediction = predicted(state.method, inputs, job)
    with _timed(state, "write"):
        write_prediction(job.folder.path, inputs, facts.spot_ids, list(job.genes), prediction, job.facts)
    job.folder.log("slide", slide=inputs.slide_id, seconds={"predict": seconds()})


def predicted(method: Method, inputs: SlideInputs, job: Job) -> SlidePrediction:
    """What a method says of a slide, checked; of a validation slide in ``VALIDATION_DRAWS`` draws at most.

    Raises:
        RunFailedError: another shape or type than the interface promises, or a value that is not finite.
    """
    key = job.folder.key
    asked = min(key.draws, VALIDATION_DRAWS) if inputs.slide_id in job.given.validation else key.draws
    return drawn(method, inputs, asked, key.seed, len(job.genes))


def drawn(method: Method, inputs: SlideInputs, draws: int, seed: int, n_genes: int) -> SlidePrediction:
    """So many draws of a slide and, where the method offers one, its direct mean, checked.

    Raises:
        RunFailedError: another shape or type than the interface promises, or a value that is not finite.
    """
    shape, found = (inputs.n_spots, n_genes), method.predict(inputs, draws, seed)
    # a sampler may be switched to one point prediction, e.g. FLAG without diffusion
    n_draws = 1 if np.ndim(found) == 3 and len(found) == 1 else draws
    found = check_prediction(found, (n_draws, *shape), inputs.slide_id)
    mean = method.predict_mean(inputs, seed)
    return SlidePrediction(found, None if mean is None else check_prediction(mean, shape, inputs.slide_id))


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
    n_broken = sum(int(np.count_nonzero(~np.isfinite(part))) for part in found)  # bit by bit: draws may fill the memory
    if n_broken:
        raise RunFailedError(f"slide {slide_id}: {n_broken} of {found.size} predicted values are not finite")
    return found
