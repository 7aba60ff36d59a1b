"""The space of every registered method: knobs it has, ranges it accepts, the preset's own settings among them."""

import numpy as np
import pytest
from pydantic import ValidationError

from stbench.catalogue import is_foreign, method_cards
from stbench.catalogue.search import Knob
from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.methods.registry import as_text, find_method, method_class, resolve_settings
from stbench.studies.tuning.sampling import distribution_of, falls_short, importance_of, propose
from stbench.studies.tuning.space import space_of

from .conftest import METHODS

METHODS_OF_PAPERS = [
    name for name, card in method_cards().items()
    if card.kind in ("generative", "discriminative") and not is_foreign(card)
]  # fmt: skip
LINEAR = ("linear-gaussian", "ridge", "ridge-slide")
TUNED = [name for name, card in method_cards().items() if card.search is not None]


def settings_of(name, overrides):
    card = find_method(name)
    return resolve_settings(card, method_class(card), "small", overrides)


def test_every_method_and_the_linear_controls_can_be_tuned():
    assert len(METHODS_OF_PAPERS) >= 8
    assert {*METHODS_OF_PAPERS, *LINEAR} <= {*TUNED}
    assert not [name for name in TUNED if method_cards()[name].kind in ("oracle", "ceiling")]


@pytest.mark.parametrize("name", TUNED)
def test_a_space_fits_its_method(name):
    space = space_of(method_cards()[name], "small", {})  # knobs that exist, ends that are accepted
    generator = np.random.default_rng(0)
    for _ in range(100):
        settings_of(name, {knob: as_text(_drawn(space[knob], generator)) for knob in space})


def _drawn(knob, generator):
    if knob.choices is not None:
        return knob.choices[generator.integers(len(knob.choices))]
    if isinstance(knob.low, int) and isinstance(knob.high, int):
        return int(generator.integers(knob.low, knob.high, endpoint=True))
    return float(generator.uniform(knob.low, knob.high))


@pytest.mark.parametrize("name", METHODS_OF_PAPERS)
def test_methods_have_six_to_eight_knobs_around_their_small_preset(name):
    card = method_cards()[name]
    own = settings_of(name, {}).model_dump()
    assert 6 <= len(card.search.knobs) <= 8
    assert all(knob.holds(own.get(setting, False)) for setting, knob in card.search.knobs.items())


def test_samplers_are_tuned_by_their_draws_and_on_their_spread():
    for name in (*METHODS_OF_PAPERS, *LINEAR):
        card = method_cards()[name]
        samples = card.draws > 1
        assert card.search.objective == ("crps" if samples else "pcc")
        assert samples == bool({"calibrate", "spread"} & {*card.search.knobs})


@pytest.mark.parametrize(("said", "why"), [
    ({"low": 1, "why": "x"}, "expected low and high, or choices"),
    ({"low": 1, "high": 2, "choices": [1, 2], "why": "x"}, "expected low and high, or choices"),
    ({"low": 2, "high": 1, "why": "x"}, "expected low below high, found 2 and 1"),
    ({"low": 0.0, "high": 1.0, "log": True, "why": "x"}, "expected low above 0, as log is on"),
    ({"choices": [1], "why": "x"}, "choices"),
    ({"low": 1, "high": 2, "why": ""}, "why"),
    ({"low": 1, "high": 2}, "why"),
])  # fmt: skip
def test_no_knob(said, why):
    with pytest.raises(ValidationError, match=why):
        Knob.model_validate(said)


@pytest.mark.parametrize(("name", "error", "said"), [
    ("Unknown", UnknownNameError, "unknown knob, no setting of unknown, 'stiffness': .*known: alpha, clip; mend"),
    ("TooWide", SettingError, r"\[search\] of toowide: expected a range of clip that preset small accepts, found -1.0"),
    ("Untuned", UserError, r"expected a table \[search\] on the card of untuned, found none"),
    ("NoMetric", UnknownNameError, "unknown metric 'beauty'"),
])  # fmt: skip
def test_a_space_that_does_not_fit(name, error, said):
    with pytest.raises(error, match=said):
        space_of(find_method(f"{METHODS}:{name}"), "small", {})


def test_a_card_that_says_no_range():
    with pytest.raises(DataError, match=r"expected low below high, found 9\.0 and 1\.0"):
        find_method(f"{METHODS}:NoRange")


def test_all_knobs_set_by_hand():
    with pytest.raises(UserError, match="expected a knob of stiff to try, found all set by --set"):
        space_of(find_method(f"{METHODS}:Stiff"), "small", {"alpha": "1", "clip": "5"})


KNOBS = {
    "x": Knob(low=1e-4, high=1.0, log=True, why="x"),
    "n": Knob(low=1, high=4, why="n"),
    "c": Knob(choices=["a", "b"], why="c"),
}


def done(params, means):
    from optuna.trial import TrialState, create_trial

    return create_trial(
        state=TrialState.COMPLETE, value=means[-1], params=params, intermediate_values=dict(enumerate(means)),
        distributions={name: distribution_of(knob) for name, knob in KNOBS.items()},
    )  # fmt: skip


def history(n):
    found = []
    for _ in range(n):
        params = propose("a", 0, KNOBS, found)
        found.append(done(params, [params["n"] / 4, params["n"] / 4]))
    return found


def test_what_is_proposed_follows_from_the_trials_so_far_alone():
    found = history(12)
    assert [trial.params for trial in found] == [trial.params for trial in history(12)]
    assert propose("a", 0, KNOBS, found[:7]) == found[7].params
    assert propose("a", 1, KNOBS, found[:7]) != found[7].params
    assert propose("b", 0, KNOBS, found[:7]) != found[7].params
    assert all(KNOBS[name].holds(value) for trial in found for name, value in trial.params.items())


def test_tpe_finds_what_matters():
    found = history(40)
    assert sum(trial.params["n"] == 4 for trial in found[20:]) >= 9  # 5 by chance
    importance = importance_of(found)
    assert max(importance, key=importance.get) == "n"
    assert sum(importance.values()) == pytest.approx(1)
    assert importance_of(found[:9]) == {}


def test_a_trial_is_given_up_below_the_median_of_four_or_more():
    found = [done({"x": 0.1, "n": 1, "c": "a"}, [level, level]) for level in (0.1, 0.2, 0.3, 0.4)]
    assert falls_short(found, [0.24])
    assert not falls_short(found, [0.26])
    assert not falls_short(found[:3], [0.0])
