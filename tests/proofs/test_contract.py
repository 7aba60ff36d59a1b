"""The contract suite: every registered method keeps it, and every way of breaking it is found."""

import re
from pathlib import Path

import pytest

from stbench.catalogue import MethodCard, method_cards
from stbench.proofs.contract import CHECKS, check_method

FAULTY = Path(__file__).with_name("faulty.py")


def failures(card, folder):
    return {result.name: result.detail for result in check_method(card, folder) if not result.passed}


@pytest.mark.parametrize("name", list(method_cards()))
def test_every_registered_method(name, tmp_path):
    assert failures(method_cards()[name], tmp_path) == {}


def faulty(name, **facts):
    return MethodCard(**{"name": name.lower(), "title": name, "entry": f"{FAULTY}:{name}", **facts})


def test_sound_ones(tmp_path):
    assert failures(faulty("Sound"), tmp_path) == {}
    assert failures(faulty("Sound", kind="generative", draws=4, needs=["features", "xy"]), tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("Undescribed", "settings are described", "found none for k"),
        ("Thawed", "settings are described", "frozen"),
        ("Lenient", "settings are described", "extra"),
        ("Wide", "predicts the right shape", "float64"),
        ("Flat", "predicts the right shape", "(24, 6)"),
        ("Nan", "predicts the right shape", "not finite"),
        ("Unseeded", "same seed, same result", "same bits"),
        ("Wanders", "predicting leaves no trace", "after another one"),
        ("DrawsTogether", "draws stand alone", "number of draws"),
        ("OneDraw", "draws differ", "draws = 1"),
        ("SameDraws", "draws differ", "another seed"),
        ("Mirrors", "draws are independent", "draws 0 and 1 correlated by -1.00"),
        ("Repeats", "draws are independent", "draws 0 and 1 correlated by 1.00"),
        ("Strata", "draws are independent", "farther apart"),
        ("BadMean", "posterior mean", "(6,)"),
        ("Forgets", "saves and loads", "difference of 1"),
        ("Vandal", "leaves its input alone", "features"),
        ("NeedsTwoSpots", "a slide of one spot", "IndexError"),
        ("Chatters", "a slide of one spot", "one line"),
        ("NeedsPlaces", "refuses with a reason", "AttributeError"),
        ("Timeless", "estimates its time", "nan"),
    ],
)
def test_a_broken_promise_is_found(name, check, said, tmp_path):
    found = failures(faulty(name, kind="generative", draws=3, optional=["array_xy"]), tmp_path)
    assert said in found[check]
    assert "\n" not in found[check].replace(repr("one\nspot"), "")


def test_all_draws_of_the_card_are_looked_at(tmp_path):
    assert "draws 0 and 4" in failures(faulty("MirrorsFarApart", draws=8), tmp_path / "8")["draws are independent"]
    assert failures(faulty("MirrorsFarApart", draws=4), tmp_path / "4") == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [("Crashes", "ZeroDivisionError: division by zero"), ("RefusesEverything", "needs a bigger slide")],
)
def test_nothing_is_checked_without_a_fit(name, said, tmp_path):
    found = failures(faulty(name), tmp_path)
    assert found["fits"] == said
    assert set(CHECKS) - set(found) == {"settings are described", "presets name differences"}


def test_settings_that_must_be_given(tmp_path):
    assert "found none for k" in failures(faulty("Required"), tmp_path)["settings are described"]


@pytest.mark.parametrize(
    ("presets", "said"),
    [
        ({"small": {"alpha": 5.0}, "stiff": {"alpha": None}}, "preset stiff to name what differs.*found alpha"),
        ({"small": {"slope": 1}}, "slope"),
    ],
)
def test_a_preset_that_repeats_a_default_or_names_no_setting(presets, said, tmp_path):
    card = method_cards()["ridge"].model_copy(update={"presets": presets})
    assert re.search(said, failures(card, tmp_path)["presets name differences"])


def test_the_test_preset_is_taken_first(tmp_path):
    card = method_cards()["ridge"].model_copy(update={"presets": {"small": {"alpha": 5}, "test": {"alpha": -1}}})
    assert "alpha" in failures(card, tmp_path)["fits"]


def test_only_oracles_see_the_depth(tmp_path):
    oracle = method_cards()["total-counts"]
    assert (
        failures(oracle.model_copy(update={"kind": "control"}), tmp_path)["fits"]
        == "needs total_counts, found none on slide P1-a and 4 more"
    )
