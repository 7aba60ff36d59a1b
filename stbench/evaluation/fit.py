"""One model from all slides of a cohort, without a test part: fitted once, kept with all that applying it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from stbench.data.cohort import Cohort
from stbench.data.splits import split_without_test
from stbench.errors import RunFailedError, StbenchError, UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.fit_request import ASKED, FitRequest, bare
from stbench.evaluation.folder import HISTORY, WORK
from stbench.evaluation.given import Given, sight_of
from stbench.evaluation.hardware import hardware, versions
from stbench.evaluation.model import FACTS, MODEL, ModelFacts
from stbench.evaluation.needs import unmet
from stbench.evaluation.plan import Fold, Plan, PlannedRun, plan
from stbench.evaluation.request import Request
from stbench.evaluation.run import declared_draws, encoder_of, lacks_pictures
from stbench.evaluation.task import NO_ENCODER, Task
from stbench.evaluation.worker import announce
from stbench.files import check_unused, new_folder, remove, sha256_of, write_sealed
from stbench.methods.base import Context, Method
from stbench.methods.calibration import calibrated
from stbench.methods.registry import find_method, method_class
from stbench.reporting import SILENT, Reporter
from stbench.text import named

NO_TEST = "train and validation"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def plan_fit(request: FitRequest, cache_dir: Path, reporter: Reporter = SILENT) -> Plan:
    """Check everything that can be checked without reading a slide.

    Raises:
        UserError: not one method, panel size, seed and scale; a method that sees the truth; a wrong name or setting; or
            the data are not there.
    """
    request.check_single()
    card = find_method(request.methods[0])
    if sight_of(card.kind) != "inputs":
        raise UserError(
            f"expected a method that predicts without the truth, found {card.name} of kind {card.kind}, which sees it; "
            "choose another --method: stbench methods list"
        )
    return plan(request, cache_dir, reporter, _only_fold)


def _only_fold(request: Request, cohort: Cohort) -> tuple[Fold, ...]:
    return (Fold(NO_TEST, split_without_test(cohort.refs, request.split_seed, cohort.left_out)),)


def fit_model(planned: Plan, out: Path, reporter: Reporter = SILENT) -> ModelFacts:
    """Fit a method and write ``model.safetensors``, ``model.json`` and, if it trains, ``history.csv``.

    Args:
        planned: what :func:`plan_fit` made.
        out: new or empty folder; it appears as a whole.
        reporter: where messages and progress go.

    Returns:
        What ``model.json`` holds.

    Raises:
        UserError: the method cannot run on the cohort, an input is wrong, or ``out`` is in use.
        RunFailedError: the method failed.
    """
    check_unused(out)
    (run,), asked = planned.runs, planned.request
    settings = planned.task(planned.folds[0], asked.genes[0], asked.normalization[0])
    task = build_task(
        planned.cohort, planned.card, settings, planned.cache_dir, reporter, planned.device, planned.encoder,
        split=planned.split,
    )  # fmt: skip
    if (reason := lacks_pictures(task, run.card)) is not None:
        raise UserError(f"{run.card.name} refuses: {reason}")
    given = task.given(encoder_of(run.card))
    with new_folder(out) as part:
        start = perf_counter()
        with _foreign(run.card.name):
            method = _fitted(planned, task, given, part / WORK, reporter)
            seconds = perf_counter() - start
            method.save(part / MODEL)
        if (part / WORK / HISTORY).is_file():
            (part / WORK / HISTORY).replace(part / HISTORY)
        remove(part / WORK)
        facts = _facts(planned, run, task, given, seconds=seconds, model=sha256_of(part / MODEL))
        write_sealed(part / FACTS, json.loads(facts.model_dump_json()))
    return facts


def _fitted(planned: Plan, task: Task, given: Given, work: Path, reporter: Reporter) -> Method:
    (run,), asked = planned.runs, planned.request
    inputs = given.inputs()
    train, validation = given.labelled(inputs)
    context = Context(
        tuple(task.facts.genes), asked.seeds[0], task.settings.normalization, planned.device, work, reporter=reporter
    )
    method = calibrated(method_class(run.card)(run.settings))
    work.mkdir()
    if (reason := unmet(run.card, inputs.values()) or method.refuse(train, [], context)) is not None:
        raise UserError(f"{run.card.name} refuses: {reason}")
    estimate = method.estimate_seconds(train, [], declared_draws(run.card, None), context)
    announce(run.card, asked.preset, planned.device, estimate, reporter)
    method.fit(train, validation, context)
    return method


@contextmanager
def _foreign(name: str) -> Iterator[None]:
    """Whatever a method raises is its result; an interruption alone may be the user's, for it works in this process.

    Raises:
        RunFailedError: in place of what is no exception of stbench.
    """
    try:
        yield
    except (StbenchError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RunFailedError(f"{name} failed: {named(error)}") from error


def _facts(planned: Plan, run: PlannedRun, task: Task, given: Given, *, seconds: float, model: str) -> ModelFacts:
    asked, card, facts, patch = planned.request, run.card, task.facts, task.patch
    assert isinstance(asked, FitRequest)
    portable, encoder = asked.portable(), encoder_of(card) or planned.encoder_name
    known, weights = portable.dump(), _SHA256.search(given.encoder) if asked.weights is not None else None
    return ModelFacts(
        method=card.name,
        title=card.title,
        kind=card.kind,
        entry=bare(card.entry),
        preset=asked.preset,
        settings=bare(run.settings.model_dump(mode="json")),
        seed=asked.seeds[0],
        draws=declared_draws(card, None),
        dataset=facts.dataset,
        origin=facts.origin,
        about=facts.about,
        genes=facts.genes,
        normalization=task.settings.normalization,
        encoder_name=encoder,
        encoder=given.encoder,
        weights=weights[0] if weights and encoder != NO_ENCODER else None,
        patch={"um": patch.um, "px": patch.px, "out_px": patch.out_px},
        train=facts.train,
        validation=facts.validation,
        patients=facts.patients,
        n_spots=facts.n_spots,
        left_out=facts.left_out,
        data_digest=facts.data_digest,
        model=model,
        seconds=round(seconds, 3),
        hardware=hardware(planned.device),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=portable.command(),
        request={name: known[name] for name in ASKED if asked.options()[name].role != "place"},
    )
