"""Protocols that leave validation empty: who may run, and what their records say."""

from dataclasses import replace

import pytest

from stbench.catalogue import method_cards
from stbench.evaluation.build import build_task
from stbench.evaluation.needs import without_validation
from stbench.evaluation.run import run_method
from stbench.evaluation.task import TaskSettings
from stbench.methods.registry import method_class, resolve_settings
from stbench.methods.trained import TrainedMethod
from stbench.pages.facts import facts_of

from .conftest import make_cohort

SETTINGS = TaskSettings(genes=5, split="lopo-P1", encoder="mean-rgb", validates=False)


@pytest.fixture
def bare(slides, card):
    return build_task(make_cohort(slides), card, SETTINGS)


def test_validation_slides_train_and_the_task_says_so(bare, slides, card):
    full = build_task(make_cohort(slides), card, replace(SETTINGS, validates=True)).facts
    facts = bare.facts
    assert set(facts.train) == {*full.train, *full.validation}
    assert (facts.validation, facts.test) == ([], full.test)
    assert (facts.validates, full.validates) == (False, True)
    assert facts_of(facts)["validation"] == "none, its slides train"
    assert len({facts.hash, full.hash}) == len({facts.protocol_hash, full.protocol_hash}) == 2


def test_a_method_that_chooses_nothing_runs_and_a_point_has_no_crps(bare, tmp_path):
    record = run_method(bare, method_cards()["training-mean"], folder=tmp_path)
    assert record.status == "done"
    assert set(record.predictions) == set(bare.facts.test)
    assert record.metrics["mse"].mean is not None
    assert record.metrics["crps"].mean is None


def test_the_harness_refuses_on_a_cards_behalf(bare, tmp_path):
    card = method_cards()["ridge"]
    refused = run_method(bare, card, folder=tmp_path / "a")
    assert refused.status == "refused"
    assert refused.reason == "chooses alpha on validation slides, found none; give it with --set alpha=..."
    assert run_method(bare, card, folder=tmp_path / "b", overrides={"alpha": "100"}).status == "done"


def test_a_training_that_stops_on_validation_is_refused(bare, tmp_path):
    refused = run_method(bare, method_cards()["bleep"], folder=tmp_path, preset="small")
    assert (refused.status, refused.reason) == (
        "refused",
        "needs validation slides, found none; leave out --validation none",
    )


@pytest.mark.parametrize("name", method_cards())
def test_cards_say_what_their_methods_do(name):
    """What trains in the common loop keeps the weights that validate best; a setting that is named is one."""
    card = method_cards()[name]
    if issubclass(method_class(card), TrainedMethod):
        assert card.validation is True
    if isinstance(card.validation, str):
        settings = resolve_settings(card, method_class(card), "paper", {})
        assert getattr(settings, card.validation) is None
        assert without_validation(card, settings, 0)
        assert without_validation(card, settings, 1) is None
