"""Stored predictions scored again: the same numbers, other metrics, and what is refused."""

import json
from dataclasses import replace

import anndata
import pytest

from stbench.errors import DataError, UserError
from stbench.evaluation.predictions import prediction_path, read_prediction, write_prediction
from stbench.evaluation.record import read_record, write_record
from stbench.evaluation.rescore import Truths, rescore, rescored, scored_slide
from stbench.evaluation.run import run_method
from stbench.evaluation.seals import seal_file
from stbench.methods.base import SlideInputs
from stbench.metrics import ssc

from .conftest import GENES, make_cohort, make_slide, scrambled


@pytest.fixture
def truths(slides, card, monkeypatch, tmp_path_factory):
    """Makes the source of truth of some slides, those of the task when none are given."""

    def make(some=slides):
        monkeypatch.setattr("stbench.evaluation.rescore.open_dataset", lambda *_, **__: (make_cohort(some), card))
        return Truths(None, tmp_path_factory.mktemp("cache"))

    return make


@pytest.fixture
def generative(method):
    return method("SlideMean", kind="generative", draws=2)


def as_schema_1(folder, task):
    """Make of a run what versions before schema 2 left: the truth beside predictions, no request, no hashes."""
    record = json.loads((folder / "record.json").read_text())
    for field in ("request", "predictions", "per_gene", "seal"):
        del record[field]
    (folder / "seals.json").unlink()
    (folder / "record.json").write_text(json.dumps({**record, "schema_version": 1}))
    for slide in task.facts.validation:
        (folder / "predictions" / f"{slide}.h5ad").unlink()
    for slide in task.test:
        path = folder / "predictions" / f"{slide.inputs.slide_id}.h5ad"
        adata = anndata.read_h5ad(path)
        adata.layers["truth"], adata.obs["total_counts"] = slide.expression, slide.total_counts
        adata.write_h5ad(path)


def test_it_agrees_with_the_run(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    assert rescore(tmp_path, truths()) == record


def test_metrics_are_handed_the_facts_of_the_run(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    for slide in task.test:
        again = scored_slide(truths().of(record)[slide.inputs.slide_id], record.task).facts()
        assert list(again) == list(slide.facts())
        assert (again["genes"], again["scale"]) == (slide.facts()["genes"], slide.facts()["scale"])
        assert (list(again["genes"]), again["scale"]) == (record.task.genes, "log1p")


def test_a_truth_beside_a_prediction_is_not_believed_where_there_is_a_hash(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    for slide in task.test:
        path = prediction_path(tmp_path, slide.inputs.slide_id)
        adata = anndata.read_h5ad(path)
        adata.layers["truth"], adata.obs["total_counts"] = adata.X.copy(), slide.total_counts
        adata.write_h5ad(path)
        seal_file(tmp_path, path)
    assert rescore(tmp_path, truths()) == record


def test_a_record_of_other_draws_than_there_are(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    write_record(record.model_copy(update={"draws": 8}), tmp_path)
    with pytest.raises(DataError, match="expected 8 draws of slide P2-s1, found 2"):
        rescore(tmp_path, truths())


@pytest.mark.parametrize(("kind", "draws"), [("discriminative", 1), ("generative", 1), ("control", 1)])
def test_points_and_lone_draws_are_told_apart(task, method, truths, tmp_path, kind, draws):
    card = method("SlideMean", kind=kind, draws=1 if kind == "discriminative" else 2)
    record = run_method(task, card, folder=tmp_path, draws=draws)
    assert record.metrics["crps"].dressed == (kind == "discriminative")
    assert rescore(tmp_path, truths()) == record


def test_a_point_without_predictions_of_validation_slides_has_no_crps(task, method, truths, tmp_path):
    record = run_method(task, method("SlideMean"), folder=tmp_path)
    as_schema_1(tmp_path, task)
    again = rescore(tmp_path, truths([]))
    assert (again.metrics["crps"].mean, again.metrics["mae"]) == (None, record.metrics["mae"])


def test_calibrated_draws_are_scored_as_such(task, method, truths, tmp_path):
    card = method("Sampler", kind="generative", draws=3)
    record = run_method(task, card, folder=tmp_path, overrides={"calibrate": "true"})
    assert rescore(tmp_path, truths()) == record
    old = record.model_copy(update={"rules": 2, "calibration": None})
    assert (record.follows, old.follows, old.model_copy(update={"settings": {}}).follows) == (3, 2, 3)
    write_record(old, tmp_path)
    with pytest.raises(DataError, match="expected what its draws were calibrated with, which records hold since rules"):
        rescore(tmp_path, truths())


def test_parameters_of_a_metric(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    usual, three = (rescore(tmp_path, truths(), {"ssc": {"k": k}}) for k in (8, 3))
    assert usual.metrics["ssc"] == record.metrics["ssc"]
    assert usual.metrics_single_draw["ssc"] == record.metrics_single_draw["ssc"]
    assert "pcc" not in usual.metrics
    stored = read_prediction(tmp_path, "P3-s0")
    (slide,) = (slide for slide in task.test if slide.inputs.slide_id == "P3-s0")
    expected = ssc(slide.expression, stored.prediction.mean, stored.xy, k=3).value
    assert three.metrics["ssc"].per_slide["P3-s0"] == expected != usual.metrics["ssc"].per_slide["P3-s0"]


def test_only_scores_change(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path, command="stbench run ...", request={"genes": [5]})
    spoilt = record.model_copy(update={"metrics": {}, "metrics_single_draw": record.metrics_single_draw})
    (tmp_path / "record.json").write_text(spoilt.model_dump_json())
    (found,) = rescored([tmp_path], truths())
    assert found.before == spoilt == read_record(tmp_path)
    assert found.after == record
    assert found.moved == f"{len(record.metrics)} new metrics"


def test_what_moved_is_said(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    scores = record.metrics
    mse = scores["mse"].model_copy(update={"mean": 7.0})
    old = {**scores, "mse": mse, "other": mse}
    old.pop("ssc")
    (tmp_path / "record.json").write_text(record.model_copy(update={"metrics": old}).model_dump_json())
    (found,) = rescored([tmp_path / "record.json"], truths())
    pcc, new = f"{scores['pcc'].mean:.4g}", f"{scores['mse'].mean:.4g}"
    assert found.moved == f"pcc {pcc} -> {pcc}, mse 7 -> {new}, 1 new metric, 1 metric gone"


def test_each_cohort_is_read_once(task, generative, truths, tmp_path, monkeypatch):
    for name in "ab":
        run_method(task, generative, folder=tmp_path / name)
    source, asked = truths(), []
    read = Truths._read
    monkeypatch.setattr(Truths, "_read", lambda self, record: asked.append(record.task.hash) or read(self, record))
    assert [run.folder.name for run in rescored([tmp_path], source)] == ["a", "b"]
    assert asked == [task.facts.hash]


def test_schema_1_needs_no_cohort(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    as_schema_1(tmp_path, task)
    again = rescore(tmp_path, truths([]))
    assert again.schema_version == 2
    assert (again.metrics, again.metrics_single_draw) == (record.metrics, record.metrics_single_draw)
    assert (again.per_gene, again.request) == (record.per_gene, {})


def test_runs_without_scores_stay(task, method, truths, tmp_path):
    record = run_method(task, method("Crashes"), folder=tmp_path)
    assert rescore(tmp_path, truths([])) == record


def test_a_damaged_prediction(task, generative, truths, tmp_path):
    run_method(task, generative, folder=tmp_path)
    (tmp_path / "predictions" / "P3-s0.h5ad").write_bytes(b"half")
    with pytest.raises(UserError, match=r"expected a prediction of slide P3-s0 in .*; delete record\.json"):
        rescore(tmp_path, truths())


def test_another_prediction(task, generative, truths, tmp_path):
    record = run_method(task, generative, folder=tmp_path)
    stored = read_prediction(tmp_path, "P3-s0")
    inputs = SlideInputs("P3-s0", "P3", stored.xy[:, :0], stored.xy)
    other = replace(stored.prediction, draws=stored.prediction.draws + 1)
    write_prediction(tmp_path, inputs, stored.spot_ids, stored.genes, other, {})
    with pytest.raises(DataError, match="expected the prediction of slide P3-s0 that was scored, found another"):
        rescore(tmp_path, truths())
    (tmp_path / "record.json").write_text(record.model_copy(update={"predictions": {}}).model_dump_json())
    write_prediction(tmp_path, inputs, stored.spot_ids[::-1], stored.genes, other, {})
    with pytest.raises(DataError, match="expected the spots of slide P3-s0, found a prediction of others"):
        rescore(tmp_path, truths())


def test_other_data(task, generative, truths, slides, tmp_path):
    run_method(task, generative, folder=tmp_path)
    changed = [scrambled(slide) if slide.id == "P0-s0" else slide for slide in slides]
    with pytest.raises(DataError, match=r"expected the data of task .*, found others in tiny; give the --data-root"):
        rescore(tmp_path, truths(changed))
    with pytest.raises(DataError, match=r"found others in tiny \(no slide P0-s0\)"):
        rescore(tmp_path, truths(slides[1:]))
    fewer = make_slide("P0-s0", "P0", genes=[gene for gene in GENES if gene != task.facts.genes[0]])
    with pytest.raises(DataError, match=rf"\(slide P0-s0 without gene {task.facts.genes[0]}\)"):
        rescore(tmp_path, truths([fewer, *slides[1:]]))


def test_a_place_without_runs(truths, tmp_path):
    with pytest.raises(DataError, match=r"expected record\.json in .*found none"):
        rescored([tmp_path], truths())
    archive = tmp_path / "board.records.jsonl.xz"
    archive.write_bytes(b"")
    with pytest.raises(DataError, match=r"expected the folder of a run, found .*its predictions are needed"):
        rescored([archive], truths())
