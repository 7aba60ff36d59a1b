"""One model from all slides of a cohort, without a test part: fitted once, kept with all that applying it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from stbench.data.cohort import Cohort
from stbench.data.splits import split_without_test
from stbench.errors import RunFailedError, StbenchError, UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.describe import described, write_model_facts
from stbench.evaluation.fit_request import ASKED, FitRequest
from stbench.evaluation.folder import HISTORY, WORK
from stbench.evaluation.given import Given, sight_of
from stbench.evaluation.model import MODEL, GeneWorth, ModelFacts
from stbench.evaluation.needs import unmet
from stbench.evaluation.plan import Fold, Plan, plan
from stbench.evaluation.request import Request
from stbench.evaluation.run import declared_draws, encoder_of, lacks_pictures
from stbench.evaluation.task import Task
from stbench.evaluation.worker import announce
from stbench.files import check_unused, new_folder, remove
from stbench.methods.base import Context, Method
from stbench.methods.calibration import calibrated
from stbench.methods.registry import find_method, method_class
from stbench.reporting import SILENT, Reporter
from stbench.text import named

NO_TEST = "train and validation"


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


def fit_model(
    planned: Plan, out: Path, reporter: Reporter = SILENT, measure: Callable[[list[str]], list[GeneWorth]] | None = None
) -> ModelFacts:
    """Fit a method and write ``model.safetensors``, ``model.json`` and, if it trains, ``history.csv``.

    Args:
        planned: what :func:`plan_fit` made.
        out: new or empty folder; it appears as a whole.
        reporter: where messages and progress go.
        measure: genes of the panel to what their predictions are worth; None where nobody measured it.

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
    worth = [] if measure is None else measure(task.facts.genes)
    given = task.given(encoder_of(run.card))
    with new_folder(out) as part:
        start = perf_counter()
        with foreign(run.card.name):
            method = _fitted(planned, task, given, part / WORK, reporter)
            seconds = perf_counter() - start
            method.save(part / MODEL)
        if (part / WORK / HISTORY).is_file():
            (part / WORK / HISTORY).replace(part / HISTORY)
        remove(part / WORK)
        assert isinstance(asked, FitRequest)
        portable, known = asked.portable(), asked.portable().dump()
        facts = described(
            task, run.card, given, part / MODEL, encoder=encoder_of(run.card) or planned.encoder_name,
            preset=asked.preset, settings=run.settings.model_dump(mode="json"),
            seed=asked.seeds[0], draws=declared_draws(run.card, None), seconds=seconds, device=planned.device,
            command=portable.command(),
            request={name: known[name] for name in ASKED if asked.options()[name].role != "place"},
        )  # fmt: skip
        facts = facts.model_copy(update={"worth": worth})
        write_model_facts(facts, part)
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
def foreign(name: str) -> Iterator[None]:
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
