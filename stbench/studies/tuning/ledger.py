"""Trials on disk: optuna's journal, one file per folder, with a study for every method in every outer fold.

A trial is written when it is asked for, with all its settings in one line, and again when it ended. Nothing else says
what was tried, so that a command that is killed goes on with the trials that it had asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stbench.catalogue.search import Knob, Value
from stbench.errors import DataError, UserError
from stbench.text import first_line

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

JOURNAL = "trials.journal"
PRESET = "preset"
_OVERRIDES, _SECONDS, _REASON, _INNER = "overrides", "seconds", "reason", "inner"
_LOCK = ".lock"  # what optuna puts behind a journal's name while it writes
State = Literal["running", "complete", "pruned", "failed"]
_STATES: dict[str, State] = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class Trial:
    """One set of settings, and what came of it.

    Args:
        number: from 0, which is the preset's own settings.
        state: ``running`` until it ended.
        params: knob to value; empty where the preset's lie outside of the ranges.
        overrides: setting to text, over the preset.
        value: mean over inner folds of what it gains on the best control; None unless it is complete.
        inner: the gain in each inner fold that was run.
        seconds: of fitting, predicting and scoring, over its cells.
        reason: why it failed.
    """

    number: int
    state: State
    params: Mapping[str, Value]
    overrides: Mapping[str, str]
    value: float | None = None
    inner: Sequence[float] = ()
    seconds: float = 0.0
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.state != "running"


class Ledger:
    """The journal of a folder.

    Args:
        folder: of the study; it exists.
        writes: whether trials are asked for and told; who does so holds a lock of the folder.

    Raises:
        UserError: another program of optuna is writing the journal.
        DataError: the journal cannot be read.
    """

    def __init__(self, folder: Path, *, writes: bool = False) -> None:
        self.path = folder / JOURNAL
        try:
            if writes:
                self._check_free()
                _mend(self.path)
            self._storage = _opened(self.path)
        except (OSError, ValueError, KeyError, AssertionError) as error:
            raise DataError(
                f"expected a journal of optuna in {self.path}, found: {first_line(error)}; choose another --out"
            ) from error

    def _check_free(self) -> None:
        lock = self.path.with_name(self.path.name + _LOCK)
        if lock.is_symlink() or lock.exists():
            raise UserError(
                f"another program is writing {self.path}: it holds {lock.name}, to be removed by hand where that one "
                "has died; wait for it, or choose another --out"
            )

    def trials(self, study: str) -> list[Trial]:
        """Every trial of a study, in order; none where there is no such study."""
        return [_trial(found) for found in self.frozen(study)]

    def frozen(self, study: str) -> list[FrozenTrial]:
        """The same as optuna has them."""
        known = self._ids()
        return self._storage.get_all_trials(known[study]) if study in known else []

    def ask(
        self, study: str, params: Mapping[str, Value], space: Mapping[str, Knob], overrides: Mapping[str, str]
    ) -> Trial:
        """Write a new trial; it runs from now on."""
        from optuna.trial import TrialState, create_trial

        template = create_trial(
            state=TrialState.RUNNING, params=dict(params), user_attrs={_OVERRIDES: dict(overrides)},
            distributions={name: distribution_of(space[name]) for name in params},
        )  # fmt: skip
        id_ = self._storage.create_new_trial(self._study(study), template)
        return _trial(self._storage.get_trial(id_))

    def tell(self, study: str, trial: Trial) -> None:
        """Write how a trial ended."""
        from optuna.trial import TrialState

        id_ = self._storage.get_trial_id_from_study_id_trial_number(self._study(study), trial.number)
        self._storage.set_trial_user_attr(id_, _SECONDS, trial.seconds)
        self._storage.set_trial_user_attr(id_, _INNER, list(trial.inner))
        self._storage.set_trial_user_attr(id_, _REASON, trial.reason)
        for step, value in enumerate(means_of(trial.inner)):
            self._storage.set_trial_intermediate_value(id_, step, value)
        state = next(name for name, said in _STATES.items() if said == trial.state)
        values = None if trial.value is None else [trial.value]
        self._storage.set_trial_state_values(id_, TrialState[state], values)

    def _study(self, name: str) -> int:
        from optuna.study import StudyDirection

        known = self._ids()
        if name not in known:
            known[name] = self._storage.create_new_study([StudyDirection.MAXIMIZE], name)
        return known[name]

    def _ids(self) -> dict[str, int]:
        """Name of a study to its number in the storage."""
        return {one.study_name: one._study_id for one in self._storage.get_all_studies()}


def means_of(inner: Sequence[float]) -> list[float]:
    """The mean over the inner folds so far, after each of them: what trials are compared by before they are done."""
    return [sum(inner[:n]) / n for n in range(1, len(inner) + 1)]


def distribution_of(knob: Knob) -> BaseDistribution:
    """A knob as optuna draws it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if knob.choices is not None:
        return CategoricalDistribution(knob.choices)
    if isinstance(knob.low, int) and isinstance(knob.high, int):
        return IntDistribution(knob.low, knob.high, log=knob.log)
    assert knob.low is not None
    assert knob.high is not None
    return FloatDistribution(float(knob.low), float(knob.high), log=knob.log)


def _trial(found: FrozenTrial) -> Trial:
    attrs: dict[str, Any] = found.user_attrs
    return Trial(
        number=found.number,
        state=_STATES[found.state.name],
        params=dict(found.params),
        overrides=dict(attrs[_OVERRIDES]),
        value=found.value if found.state.name == "COMPLETE" else None,
        inner=tuple(attrs.get(_INNER, ())),
        seconds=float(attrs.get(_SECONDS, 0.0)),
        reason=str(attrs.get(_REASON, "")),
    )


def _opened(path: Path) -> JournalStorage:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class Held(JournalFileOpenLock):
        """The lock of the folder stands in for optuna's, which would outlive a process that is killed."""

        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=Held(str(path))))


def _mend(path: Path) -> None:
    """Cut off a last line that a process was killed in: nobody has acted on it."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with path.open("r+b") as file:
            file.truncate(len(whole))
