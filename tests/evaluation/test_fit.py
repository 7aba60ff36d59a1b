"""A model from all slides of a cohort: what it is fitted on, what lies beside it, and that it can be read again."""

import json
from pathlib import Path

import numpy as np
import pytest

from stbench.errors import DataError, RunFailedError, SettingError, UserError
from stbench.evaluation.fit import fit_model, plan_fit
from stbench.evaluation.fit_request import FitRequest
from stbench.evaluation.folder import FACTS
from stbench.evaluation.model import MODEL, load_model
from stbench.methods.base import Context

from .conftest import DUMMIES, make_cohort, scrambled
from .dummies import SlideMean


@pytest.fixture
def planned(slides, card, monkeypatch, tmp_path):
    def make(name="SlideMean", some=slides, **asked):
        monkeypatch.setattr("stbench.evaluation.asked.open_dataset", lambda *_, **__: (make_cohort(some), card))
        request = FitRequest(**{
            "methods": (f"{DUMMIES}:{name}",), "genes": (5,), "encoder": "mean-rgb", "device": "cpu", **asked,
        })  # fmt: skip
        return plan_fit(request, tmp_path / "cache")

    return make


def inputs_of(planned, genes):
    """Training and validation slides of a plan, made without the harness of a fit."""
    from stbench.evaluation.build import build_task

    task = build_task(
        planned.cohort, planned.card, planned.task(planned.folds[0], 5, "log1p"), encoder=planned.encoder,
        split=planned.split,
    )  # fmt: skip
    assert task.facts.genes == genes
    given = task.given()
    return given.labelled(given.inputs())


def test_it_is_read_again_and_predicts_the_same(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(DUMMIES.parent)  # a model says of a file the name alone
    plan = planned(overrides=("scale=0.5",), seeds=(3,))
    written = fit_model(plan, tmp_path / "model")
    facts, method = load_model(tmp_path / "model")
    assert facts == written
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [FACTS, MODEL]
    train, validation = inputs_of(plan, facts.genes)
    straight = SlideMean(SlideMean.Settings(scale=0.5))
    straight.fit(train, validation, Context(tuple(facts.genes), seed=3))
    inputs = validation[0].inputs
    np.testing.assert_array_equal(method.predict(inputs, 2, 0), straight.predict(inputs, 2, 0))


def test_all_slides_train_or_validate_and_patients_are_kept_apart(planned, tmp_path):
    facts = fit_model(planned(), tmp_path / "model")
    assert sorted(facts.train + facts.validation) == sorted(facts.n_spots) == sorted(facts.patients)
    assert (len(facts.train), len(facts.validation)) == (6, 2)
    assert {facts.patients[id_] for id_ in facts.train}.isdisjoint(facts.patients[id_] for id_ in facts.validation)
    assert facts.left_out == {"P9-s0": "no image"}
    others = {tuple(planned(split_seed=seed).split.validation) for seed in range(8)}
    assert len(others) > 1


def test_the_panel_is_chosen_on_training_slides(planned, slides, tmp_path):
    plan = planned()
    genes = fit_model(plan, tmp_path / "a").genes
    held_out, taught = (
        [scrambled(slide) if slide.id in part else slide for slide in slides]
        for part in (plan.split.validation, plan.split.train)
    )
    assert fit_model(planned(some=held_out), tmp_path / "b").genes == genes
    assert fit_model(planned(some=taught), tmp_path / "c").genes != genes


def test_what_it_says_holds_no_place_of_this_machine(planned, tmp_path):
    assert Path(DUMMIES).is_absolute()
    facts = fit_model(planned(data_root=tmp_path, overrides=(f"name={tmp_path / 'prior.csv'}",)), tmp_path / "model")
    text = (tmp_path / "model" / FACTS).read_text()
    assert str(tmp_path) not in text
    assert str(DUMMIES.parent) not in text
    assert (facts.entry, facts.settings["name"]) == ("dummies.py:SlideMean", "prior.csv")
    assert facts.command == (
        "stbench fit --method dummies.py:SlideMean --dataset simulated --genes 5 --set name=prior.csv "
        "--encoder mean-rgb"
    )
    assert (facts.encoder, facts.encoder_name, facts.weights) == ("mean-rgb/1", "mean-rgb", None)
    assert (facts.patch, facts.normalization) == ({"um": None, "px": 8, "out_px": None}, "log1p")


def test_it_is_there_whole_or_not_at_all(planned, tmp_path):
    for name, error, said in (
        ("Crashes", RunFailedError, "crashes failed: ZeroDivisionError: division"),
        ("Exits", RunFailedError, "exits failed: SystemExit: 3"),
        ("GivesUp", RunFailedError, "the loss is not finite after 3 updates"),
        ("BadInput", SettingError, "expected a prior file, found none"),
        ("Refuses", UserError, "refuses refuses: needs more than two slides"),
    ):
        with pytest.raises(error, match=said):
            fit_model(planned(name), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(UserError, match="expected a new or empty folder"):
        fit_model(planned(), tmp_path / "model")


def test_needs_of_the_card_are_held_against_the_slides(planned, slides, tmp_path):
    for slide in slides:
        del slide.adata.obsm["array"]
    plan = planned("Depth")
    plan.runs[0].card.needs.append("array_xy")
    with pytest.raises(UserError, match="depth refuses: needs array_xy, found none on slide P0-s0 and 7 more"):
        fit_model(plan, tmp_path / "model")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": ()}, "--method: expected one for one model, found none"),
        ({"methods": ("ridge", "flag")}, "--method: expected one for one model, found ridge, flag"),
        ({"genes": (5, 6)}, "--genes: expected one for one model, found 5, 6"),
        ({"seeds": (0, 1)}, "--seeds: expected one"),
        ({"normalization": ("log1p", "log2p1")}, "--normalize: expected one"),
        ({"methods": ("total-counts",)}, "found total-counts of kind oracle, which sees it"),
        ({"methods": ("best-from-truth",)}, "found best-from-truth of kind ceiling, which sees it"),
    ],
)
def test_what_is_refused_before_anything_is_read(planned, asked, said):
    with pytest.raises(UserError, match=said):
        planned(**asked)


def test_one_slide_is_too_few(planned, slides):
    with pytest.raises(UserError, match=r"expected at least 2 slides .*found 1; left out: P9-s0: no image; add slides"):
        planned(some=slides[:1])


def test_what_is_damaged_is_named(planned, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    with pytest.raises(DataError, match=r"expected a model in .*model, found: .*No such file.*fit it again"):
        load_model(folder)
    fit_model(planned(), folder)
    whole = (folder / FACTS).read_text()
    (folder / FACTS).write_text(whole.replace('"log1p"', '"log2p1"'))
    with pytest.raises(DataError, match=r"expected a model in .*by its hash; fit it again"):
        load_model(folder)
    said = {name: value for name, value in json.loads(whole).items() if name != "seal"}  # as before there were seals
    (folder / FACTS).write_text(json.dumps({**said, "entry": f"{DUMMIES}:SlideMean"}))
    with pytest.raises(DataError, match="entry: String should match pattern"):
        load_model(folder)
    (folder / FACTS).write_text(json.dumps(said))
    monkeypatch.chdir(DUMMIES.parent)  # a model names the file, and where it lies is the user's
    assert load_model(folder)[0].method == "slidemean"
    (folder / MODEL).write_bytes(b"half")
    with pytest.raises(DataError, match=r"the model that model\.json describes, found another; fit it again"):
        load_model(folder)
