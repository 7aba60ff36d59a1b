"""A fitted method on a slide that nobody measured predicts what it predicts in a run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from stbench.errors import DataError, RunFailedError, SettingError, UserError
from stbench.evaluation.apply import SPREAD, apply, open_model
from stbench.evaluation.fit import fit_model, plan_fit
from stbench.evaluation.fit_request import FitRequest
from stbench.evaluation.folder import FACTS
from stbench.evaluation.model import load_model
from stbench.evaluation.predictions import read_prediction
from stbench.evaluation.run import run_method
from stbench.files import write_sealed
from stbench.methods.registry import find_method

from .conftest import DUMMIES, Colours, make_cohort, make_slide, scrambled


@pytest.fixture
def model(slides, card, monkeypatch, tmp_path):
    def make(name="SlideMean", **asked):
        monkeypatch.setattr("stbench.evaluation.asked.open_dataset", lambda *_, **__: (make_cohort(slides), card))
        monkeypatch.chdir(DUMMIES.parent)  # a model says of a file the name alone
        said = {"genes": (5,), "encoder": "mean-rgb", "device": "cpu", **asked}
        request = FitRequest(methods=(f"{DUMMIES}:{name}" if name[0].isupper() else name,), **said)
        fit_model(plan_fit(request, tmp_path / "cache"), tmp_path / "model")
        return open_model(tmp_path / "model")

    return make


def test_draws_mean_and_spread(model):
    opened, slide = model(), make_slide("new", None)
    adata, doubts = apply(opened, slide, draws=4, seed=3, keep_draws=True)
    draws = np.stack([adata.layers[f"draw_{k}"] for k in range(4)])
    np.testing.assert_allclose(adata.X, draws.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(adata.layers[SPREAD], draws.std(axis=0, ddof=1), rtol=1e-4)
    assert (list(adata.var_names), list(adata.obs_names)) == (opened.facts.genes, slide.spot_ids)
    np.testing.assert_array_equal(adata.obsm["spatial"], slide.xy)
    np.testing.assert_array_equal(adata.obs[["array_col", "array_row"]], slide.array_xy)
    assert doubts == []
    bare, _ = apply(opened, slide, draws=4, seed=3)
    assert set(bare.layers) == {"posterior_mean", SPREAD}
    np.testing.assert_array_equal(bare.X, adata.X)


def test_counts_are_not_looked_at(model):
    opened, slide = model(), make_slide("new", None)
    no_counts = slide.adata[:, []].copy()
    found = [apply(opened, one)[0].X for one in (slide, scrambled(slide), replace(slide, adata=no_counts))]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_cell_of_a_run_is_a_model(task, cohort, tmp_path):
    record = run_method(task, find_method("ridge"), folder=tmp_path / "run", overrides={"alpha": "1"})
    assert record.status == "done", record.reason
    opened = open_model(tmp_path / "run")
    facts = opened.facts
    assert (facts.train, facts.validation, facts.genes) == (task.facts.train, task.facts.validation, task.facts.genes)
    assert set(facts.patients) == {*facts.train, *facts.validation}
    for id_ in record.task.test:
        stored = read_prediction(tmp_path / "run", id_).prediction
        np.testing.assert_array_equal(apply(opened, cohort.load(id_))[0].X, stored.mean)


def test_what_is_unlike_the_training_slides_is_said(model):
    slide = replace(make_slide("new", None), um_per_px=0.5)
    adata, doubts = apply(model(), slide)
    assert doubts == ["0.5 um per pixel, where the model was fitted on 1"] == list(adata.uns["stbench"]["doubts"])


def test_another_encoder_is_refused(model, tmp_path):
    model()
    said = json.loads((tmp_path / "model" / FACTS).read_text())
    del said["seal"]
    shifted = [value + 0.2 for value in said["seen"]["calibration"]]
    for change, reason in (
        (
            {"encoder": "mean-rgb/0"},
            "expected encoder mean-rgb/0, found mean-rgb/1; give the weights it was fitted with",
        ),
        ({"seen": {**said["seen"], "calibration": shifted}}, "to describe the calibration tile as when it was fitted"),
    ):
        write_sealed(tmp_path / "model" / FACTS, {**said, **change})
        with pytest.raises(DataError, match=reason):
            open_model(tmp_path / "model")
    write_sealed(tmp_path / "model" / FACTS, {**said, "encoder_name": "given"})
    with pytest.raises(SettingError, match="expected an encoder of pictures, found given"):
        open_model(tmp_path / "model")
    write_sealed(tmp_path / "model" / FACTS, {**said, "file": "../../x"})
    with pytest.raises(DataError, match="expected a model in"):
        load_model(tmp_path / "model")


def test_a_slide_without_what_the_method_needs(model):
    slide = replace(make_slide("new", None), image=None)
    with pytest.raises(UserError, match="slide new has no image"):
        apply(model(), slide)


def test_a_method_that_fails_on_the_slide(model):
    with pytest.raises(RunFailedError, match="1 of 80 predicted values are not finite"):
        apply(model("PredictsNan"), make_slide("new", None))


def test_a_blind_method_needs_no_picture(model):
    slide = replace(make_slide("new", None), image=None)
    adata, _ = apply(model("training-mean", encoder=None), slide)
    assert not np.ptp(adata.X, axis=0).any()
    assert Colours("x").size() is None
