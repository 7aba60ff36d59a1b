"""What is tried next, and what is given up: TPE and the median rule, each a pure function of the trials so far.

A sampler of optuna's is made anew for every trial, with a seed of the trial's own. So a command that was killed goes
on with the very trials of one that was not, as long as one trial runs at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stbench.catalogue.search import Knob
from stbench.studies.tuning.ledger import distribution_of

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

DRAWN_AT_RANDOM = 5
"""Trials before TPE has enough to learn from: the preset's own, and four at random."""
LEAST_BEFORE_PRUNING = 4
"""Complete trials before one is given up that lies below their median after the same inner folds."""
LEAST_FOR_IMPORTANCE = 10


def propose(name: str, seed: int, knobs: Mapping[str, Knob], trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """The next settings by TPE (Bergstra et al. 2011), all knobs together.

    Args:
        name: of the method in its outer fold; with the seed and the number of trials it seeds what is drawn.
        seed: of the study.
        knobs: what is tried.
        trials: so far; of those that still run, the settings alone count.
    """
    from optuna.samplers import TPESampler

    drawn = hashlib.sha256(f"{seed}/{name}/{len(trials)}".encode()).digest()
    sampler = TPESampler(n_startup_trials=DRAWN_AT_RANDOM, multivariate=True, seed=int.from_bytes(drawn[:4]))
    study = _in_memory([trial for trial in trials if trial.params], sampler)
    return dict(study.ask({name: distribution_of(knob) for name, knob in knobs.items()}).params)


def falls_short(trials: Sequence[FrozenTrial], means: Sequence[float]) -> bool:
    """Whether a trial lies below the median of the complete ones after as many inner folds.

    Args:
        trials: those that ended.
        means: of the trial, after each inner fold so far.
    """
    from optuna.pruners import MedianPruner
    from optuna.trial import TrialState, create_trial

    step = len(means) - 1
    mine = create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(means)))
    pruner = MedianPruner(n_startup_trials=LEAST_BEFORE_PRUNING)
    return step >= 0 and pruner.prune(_in_memory(trials), mine)


def importance_of(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Knob to its share of what differs between complete trials (fANOVA, Hutter et al. 2014); empty below ten."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in trials if trial.params and trial.state.name == "COMPLETE"]
    if len(complete) < LEAST_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    found = get_param_importances(_in_memory(complete), evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}


def _in_memory(trials: Sequence[FrozenTrial], sampler: Any = None) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(trials)
    return study
