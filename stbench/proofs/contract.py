"""The contract suite: what every registered method must do, checked on five tiny made-up slides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stbench.catalogue import MethodCard
from stbench.errors import RunFailedError, StbenchError
from stbench.evaluation.worker import check_prediction
from stbench.methods.base import LabelledSlide, SlideInputs
from stbench.methods.registry import method_class, resolve_settings
from stbench.proofs.contract_bench import (
    GENES,
    SEED,
    WITHHELD,
    Bench,
    FloatArray,
    arrays_of,
    copied,
    one_spot,
    withheld_inputs,
)
from stbench.proofs.draws import SEEDS_APART, dependence
from stbench.text import named, one_line

_RUNS, _FEWEST_DRAWS = 16, 4  # seeds that tell mirrored draws even where the noise of a slide is one number


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Args:
        name: what was checked.
        passed: whether the method does it.
        detail: the reason of a failure, or a remark.
    """

    name: str
    passed: bool
    detail: str = ""


class _BrokenError(Exception):
    """A check found that the method does not keep the contract."""


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise _BrokenError(reason)


def check_method(card: MethodCard, folder: Path) -> list[CheckResult]:
    """Run every check on a method, on the CPU.

    Three training slides, one for validation and one for testing, of 24 spots, 6 genes and 5 features; expression
    follows the features. The preset is ``test`` if the card has one, else ``small``, else the defaults.

    Args:
        card: the method.
        folder: an empty folder for checkpoints.

    Returns:
        One result per check. When the method cannot even be fitted, the checks that need it are failed, too.
    """
    bench = Bench(card, folder)
    if not method_class(card).predicts:
        return [CheckResult("predicts", True, "nothing: it is measured on the truth")]
    results: list[CheckResult] = []
    for name, check in CHECKS.items():
        fitted = all(result.passed for result in results if result.name == "fits")
        results.append(_checked(name, check, bench) if fitted else CheckResult(name, False, "not checked: no fit"))
    return results


def _checked(name: str, check: Callable[[Bench], str | None], bench: Bench) -> CheckResult:
    try:
        return CheckResult(name, True, check(bench) or "")
    except (_BrokenError, StbenchError) as error:
        return CheckResult(name, False, one_line(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001  the method is foreign code: whatever it raises is its result
        return CheckResult(name, False, named(error, one_line))


def _settings(bench: Bench) -> str:
    model = method_class(bench.card).Settings
    _require(bool(model.model_config.get("frozen")), "expected Settings to be frozen")
    _require(model.model_config.get("extra") == "forbid", 'expected Settings with extra="forbid"')
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    _require(not required, f"expected a default for every setting, found none for {', '.join(required)}")
    silent = [name for name, field in model.model_fields.items() if not field.description]
    _require(not silent, f"expected a description for every setting, found none for {', '.join(silent)}")
    return f"{len(model.model_fields)} settings"


def _presets(bench: Bench) -> str:
    defaults = method_class(bench.card).Settings()
    for preset, values in bench.card.presets.items():
        resolved = resolve_settings(bench.card, method_class(bench.card), preset, {})
        idle = [name for name in values if getattr(resolved, name) == getattr(defaults, name)]
        _require(not idle, f"expected preset {preset} to name what differs from the defaults, found {', '.join(idle)}")
    return ", ".join(bench.card.presets) or "no presets"


def _fits(bench: Bench) -> str:
    _ = bench.fitted
    return f"preset {bench.preset or 'none'}"


def _predicts(bench: Bench) -> str:
    found = bench.predict(bench.fitted)
    return f"shape {found.shape}, float32, finite"


def _repeats(bench: Bench) -> None:
    again = bench.predict(bench.fit("again"))
    gap = _gap(bench.predict(bench.fitted), again)
    _require(gap == 0, f"expected the same bits from the same seed, found a difference of {gap:.3g}")


def _predicting_leaves_no_trace(bench: Bench) -> None:
    first = bench.predict(bench.fitted)
    bench.predict(bench.fitted, bench.slides()[0][0].inputs, seed=SEED + 1)
    gap = _gap(first, bench.predict(bench.fitted))
    _require(gap == 0, f"expected the same slide to be predicted the same after another one, found {gap:.3g} between")


def _draws_stand_alone(bench: Bench) -> str | None:
    if not bench.samples:
        return "a point prediction"
    many = bench.predict(bench.fitted)
    few = bench.fitted.predict(copied(bench.test), 2, SEED)
    _require(len(many) != 1 or len(few) == 1, "expected one draw either way")
    gap = _gap(many[: len(few)], few)
    _require(gap == 0, f"expected draw k not to depend on the number of draws, found a difference of {gap:.3g}")
    return None


def _draws_differ(bench: Bench) -> str | None:
    drawn = bench.predict(bench.fitted)
    if not bench.samples or len(drawn) == 1:
        return "a point prediction"
    _require(_gap(drawn[0], drawn[1]) > 0, "expected draws to differ, found two alike; set draws = 1 on the card")
    other = bench.predict(bench.fitted, seed=SEED + 1)
    _require(_gap(drawn, other) > 0, "expected another seed to give other draws, found the same")
    return None


def _draws_are_independent(bench: Bench) -> str | None:
    if not bench.samples:
        return "a point prediction"
    n_draws, seeds = max(_FEWEST_DRAWS, bench.card.draws), [SEED + run * SEEDS_APART for run in range(_RUNS)]
    drawn = np.stack([bench.fitted.predict(copied(bench.test), n_draws, seed) for seed in seeds])
    if drawn.shape[1] == 1:
        return "a point prediction"
    found = dependence(drawn)
    _require(found.reason is None, f"expected independent draws, found {found.reason}")
    return f"{_RUNS} seeds of {n_draws} draws"


def _predicts_mean(bench: Bench) -> str:
    mean = bench.fitted.predict_mean(copied(bench.test), SEED)
    if mean is None:
        return "offers no direct posterior mean"
    check_prediction(mean, (bench.test.n_spots, len(GENES)), bench.test.slide_id)
    return "offered"


def _saves(bench: Bench) -> None:
    path = bench.folder / "checkpoint.safetensors"
    bench.fitted.save(path)
    loaded = method_class(bench.card).load(path)
    same = loaded.settings.model_dump() == bench.fitted.settings.model_dump()
    _require(same, "expected the settings to be loaded as saved")
    gap = _gap(bench.predict(bench.fitted), bench.predict(loaded))
    _require(gap == 0, f"expected a loaded method to predict the same, found a difference of {gap:.3g}")


def _leaves_input(bench: Bench) -> None:
    (train, validation), test = bench.slides(), copied(bench.test)
    method = bench.new()
    method.fit(train, validation, bench.context("untouched"))
    method.predict(test, bench.draws, SEED)
    changed: set[str] = set()
    for before, after in zip((*bench.slides()[0], *bench.slides()[1]), (*train, *validation), strict=True):
        changed |= _changes(before, after)
    changed |= _changes(bench.test, test)
    _require(not changed, f"expected the input to be left alone, found {', '.join(sorted(changed))} changed")


def _changes(before: LabelledSlide | SlideInputs, after: LabelledSlide | SlideInputs) -> set[str]:
    found = arrays_of(after)
    return {name for name, array in arrays_of(before).items() if not np.array_equal(array, found[name])}


def _single_spot(bench: Bench) -> str:
    single = one_spot(bench.test)
    reason = bench.new().refuse(bench.slides()[0], [single], bench.context("single"))
    if reason is not None:
        return _reason(reason)
    try:
        bench.predict(bench.fitted, single)
    except RunFailedError as error:
        return _reason(str(error))
    return "predicts it"


def _withholding(bench: Bench) -> str:
    """What the card says it needs or takes is withheld, one thing at a time."""
    said = []
    for need in [*bench.card.needs, *bench.card.optional]:
        if need in WITHHELD:
            try:
                method = bench.fit(f"without-{need}", without=need)
                bench.predict(method, withheld_inputs(bench.test, need))
                said.append(f"runs without {need}")
            except StbenchError as error:
                said.append(f"refuses without {need}: {_reason(str(error))}")
    return "; ".join(said) or "nothing to withhold"


def _estimates(bench: Bench) -> str:
    seconds = bench.new().estimate_seconds(
        bench.slides()[0], [copied(bench.test)], bench.draws, bench.context("estimate")
    )
    if seconds is None:
        return "gives none"
    _require(math.isfinite(seconds) and seconds >= 0, f"expected a finite number of seconds, found {seconds}")
    return "given"


CHECKS: dict[str, Callable[[Bench], str | None]] = {
    "settings are described": _settings,
    "presets name differences": _presets,
    "fits": _fits,
    "predicts the right shape": _predicts,
    "same seed, same result": _repeats,
    "predicting leaves no trace": _predicting_leaves_no_trace,
    "draws stand alone": _draws_stand_alone,
    "draws differ": _draws_differ,
    "draws are independent": _draws_are_independent,
    "posterior mean": _predicts_mean,
    "saves and loads": _saves,
    "leaves its input alone": _leaves_input,
    "a slide of one spot": _single_spot,
    "refuses with a reason": _withholding,
    "estimates its time": _estimates,
}
"""The suite: name of a check to a function that returns a remark or raises."""


def _reason(text: str) -> str:
    _require(bool(text.strip()) and "\n" not in text.strip(), f"expected one line as the reason, found {text!r}")
    return text.strip()


def _gap(first: FloatArray, second: FloatArray) -> float:
    _require(first.shape == second.shape, f"expected the same shape twice, found {first.shape} and {second.shape}")
    return float(np.abs(first.astype(np.float64) - second).max())
