"""From a task to a record: folders, failures, isolation of the truth."""

import json
from dataclasses import replace

import anndata
import numpy as np
import pytest
from safetensors import safe_open

from stbench.data.semisynthetic import SemisyntheticSettings
from stbench.data.semisynthetic.cohort import make_slides
from stbench.errors import SettingError, UnknownNameError, UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.predictions import digest_of, read_prediction
from stbench.evaluation.record import read_record
from stbench.evaluation.run import conclude, declared_draws, prepare, run_method
from stbench.evaluation.seals import seal_file
from stbench.evaluation.worker import Report
from stbench.metrics import crps
from stbench.metrics.score import RULES
from stbench.text import duration

from ..metrics.scoring_rules import scoringrules
from .conftest import make_cohort, scrambled


class Told:
    """A reporter that remembers."""

    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)

    def track(self, description, total):
        from stbench.reporting import SILENT

        return SILENT.track(description, total)


def test_done(task, method, tmp_path):
    card = method("SlideMean", kind="generative", draws=3)
    record = run_method(task, card, folder=tmp_path / "run", command="stbench run ...", seed=4)
    assert (record.status, record.draws, record.seed, record.command) == ("done", 3, 4, "stbench run ...")
    assert read_record(tmp_path / "run") == record
    assert set(record.metrics["pcc"].per_slide) == {"P2-s1", "P3-s0", "P3-s1"}
    assert len(record.metrics_single_draw["mse"].per_slide["P3-s0"]) == 3
    constant = record.metrics_posterior_mean["pcc"]
    assert (constant.mean, constant.n_undefined) == (0, {})
    assert constant.n_constant == {"P2-s1": 5, "P3-s0": 5, "P3-s1": 5}
    assert record.metrics_posterior_mean["pooled-pcc"].n_constant == {"": 5}
    assert record.metrics_posterior_mean["gsc"].mean is None
    assert record.metrics["mse"].mean < record.metrics_single_draw["mse"].mean
    assert record.peak_memory_mb > 10
    assert set(record.seconds) == {"read", "features", "fit", "predict", "write", "score"}
    assert record.seconds["read"] > 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint.safetensors",
        "log.jsonl",
        "model.json",
        "predictions",
        "record.json",
        "run.json",
        "seals.json",
    ]
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "estimate", "fit", "slide", "slide", "slide", "slide", "done"]


def truth_of(task, slide_id):
    return next(slide for slide in task.test if slide.inputs.slide_id == slide_id).expression


def test_prediction_file(task, method, tmp_path):
    record = run_method(task, method("SlideMean", kind="generative", draws=2), folder=tmp_path)
    stored = sorted(path.stem for path in (tmp_path / "predictions").iterdir())
    assert stored == sorted(record.predictions) == sorted([*task.facts.test, *task.facts.validation])
    adata = anndata.read_h5ad(tmp_path / "predictions" / "P3-s0.h5ad")
    truth = next(slide for slide in task.test if slide.inputs.slide_id == "P3-s0")
    assert list(adata.var_names) == task.facts.genes
    assert list(adata.obs_names) == truth.spot_ids
    assert set(adata.layers) == {"draw_0", "draw_1", "posterior_mean"}
    assert not list(adata.obs.columns)  # no truth that another run could read, total counts included
    np.testing.assert_allclose(adata.X, (adata.layers["draw_0"] + adata.layers["draw_1"]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(adata.obsm["spatial"], truth.inputs.xy)


def test_validation_slides_get_two_draws_at_most(task, method, tmp_path):
    for draws in (1, 5):
        run_method(task, method("SlideMean", kind="generative", draws=8), folder=tmp_path / str(draws), draws=draws)
        for slide_id in (*task.facts.validation, *task.facts.test):
            layers = anndata.read_h5ad(tmp_path / str(draws) / "predictions" / f"{slide_id}.h5ad").layers
            expected = draws if slide_id in task.facts.test else min(draws, 2)
            assert sum(name.startswith("draw_") for name in layers) == expected


def test_the_record_holds_every_gene_and_what_was_asked(task, method, tmp_path):
    asked = {"methods": ["SlideMean"], "seeds": [0]}
    record = run_method(task, method("SlideMean", kind="generative", draws=2), folder=tmp_path, request=asked)
    assert (record.schema_version, record.request) == (2, asked)
    for metric in ("pcc", "mse"):
        for slide, values in record.per_gene[metric].items():
            assert len(values) == task.facts.n_genes
            assert np.mean(values) == pytest.approx(record.metrics[metric].per_slide[slide], rel=1e-5)
    assert "gsc" not in record.per_gene  # of pairs of genes


def validation_sd(task, folder, layer=None):
    """Per gene, the standard deviation of the residuals on the only validation slide."""
    (slide_id,) = task.facts.validation
    adata = anndata.read_h5ad(folder / "predictions" / f"{slide_id}.h5ad")
    slide = task.kept(slide_id)
    truth = np.log1p(slide.counts.toarray())
    return (truth - (adata.X if layer is None else adata.layers[layer])).std(axis=0)


def test_the_crps_of_a_point_is_dressed_with_its_residuals_on_validation_slides(task, method, tmp_path):
    record = run_method(task, method("SlideMean"), folder=tmp_path)
    adata = anndata.read_h5ad(tmp_path / "predictions" / "P3-s0.h5ad")
    truth = truth_of(task, "P3-s0").astype(float)
    for scores, layer in ((record.metrics, "draw_0"), (record.metrics_posterior_mean, "posterior_mean")):
        expected = scoringrules.crps_normal(truth, adata.layers[layer], validation_sd(task, tmp_path, layer)).mean()
        assert scores["crps"].per_slide["P3-s0"] == pytest.approx(expected, rel=1e-5)
        assert scores["crps"].dressed
        assert not scores["mae"].dressed
    assert record.rules == record.follows == RULES


def test_pooled_scores_are_taken_apart_by_patient(task, method, tmp_path):
    card = method("SlideMean", kind="generative", draws=2)
    record = run_method(task, card, folder=tmp_path)
    for scores in (record.metrics, record.metrics_posterior_mean, record.metrics_single_draw):
        whole, *parts = (scores[f"pooled-{part}"].mean for part in ("pcc", "between", "within"))
        assert sum(parts) == pytest.approx(whole, abs=1e-12)
    assert record.metrics["pooled-within"].mean != 0


def test_draws_are_not_dressed_and_one_draw_has_no_crps(task, method, tmp_path):
    card = method("SlideMean", kind="generative", draws=2)
    record = run_method(task, card, folder=tmp_path / "two")
    adata = anndata.read_h5ad(tmp_path / "two" / "predictions" / "P3-s0.h5ad")
    draws = np.stack([adata.layers["draw_0"], adata.layers["draw_1"]])
    truth = truth_of(task, "P3-s0")
    assert record.metrics["crps"].per_slide["P3-s0"] == pytest.approx(crps(truth, draws))
    assert (record.metrics["crps"].dressed, record.metrics_posterior_mean["crps"].dressed) == (False, True)
    assert record.metrics_single_draw["crps"].mean is None
    for kind in ("generative", "control"):
        lone = run_method(task, method("SlideMean", kind=kind, draws=2), folder=tmp_path / kind, draws=1)
        assert (lone.metrics["crps"].mean, lone.metrics_single_draw["crps"].mean) == (None, None)
        assert lone.metrics_single_draw["mae"].mean is not None


def test_a_record_of_schema_1_is_read(task, method, tmp_path):
    record = run_method(task, method("SlideMean"), folder=tmp_path)
    content = json.loads((tmp_path / "record.json").read_text())
    for field in ("request", "per_gene", "predictions", "seal"):
        content.pop(field)
    (tmp_path / "record.json").write_text(json.dumps({**content, "schema_version": 1}))
    assert read_record(tmp_path).metrics == record.metrics
    (tmp_path / "record.json").write_text(json.dumps({**content, "schema_version": 3}))
    with pytest.raises(UserError, match=r"expected a record in .*, found schema 3 in place of 2"):
        read_record(tmp_path)


def test_a_prediction_of_another_run_is_not_taken_for_this_one(task, method, tmp_path):
    card = method("SlideMean")
    for seed in (0, 1):
        run_method(task, card, folder=tmp_path / str(seed), seed=seed)
    (tmp_path / "0/record.json").unlink()
    straight = (tmp_path / "0/predictions/P3-s0.h5ad").read_bytes()
    (tmp_path / "0/predictions/P3-s0.h5ad").write_bytes((tmp_path / "1/predictions/P3-s0.h5ad").read_bytes())
    seal_file(tmp_path / "0", tmp_path / "0/predictions/P3-s0.h5ad")
    told = Told()
    run_method(task, card, folder=tmp_path / "0", resume=True, reporter=told)
    assert any("found one of other seed" in line for line in told.lines)
    found = read_prediction(tmp_path / "0", "P3-s0").prediction
    (tmp_path / "0/predictions/P3-s0.h5ad").write_bytes(straight)
    assert digest_of(found) == digest_of(read_prediction(tmp_path / "0", "P3-s0").prediction)


def test_what_a_card_needs_is_refused_for_it(slides, card, settings, method, tmp_path):
    bare = [replace(slide, um_per_px=None) if slide.id == "P3-s0" else slide for slide in slides]
    task = build_task(make_cohort(bare), card, settings)
    record = run_method(task, method("SlideMean", needs=["um_per_px"]), folder=tmp_path)
    assert (record.status, record.reason) == ("refused", "needs um_per_px, found none on slide P3-s0")


def test_a_finished_record_is_never_replaced_by_a_failed_one(task, method, tmp_path):
    card = method("SlideMean")
    ready = prepare(task, card, folder=tmp_path, preset="paper", resume=True)
    record = run_method(task, card, folder=tmp_path, resume=True)
    assert conclude(ready, Report("failed", "its worker process was ended by SIGKILL")) == record
    assert read_record(tmp_path) == record


def test_a_failed_run_keeps_what_training_left(task, method, tmp_path):
    run_method(task, method("Crashes"), folder=tmp_path)
    assert (tmp_path / "work").is_dir()


def test_metrics_are_those_of_the_mean(task, method, tmp_path):
    record = run_method(task, method("SlideMean", kind="generative", draws=2), folder=tmp_path)
    adata = anndata.read_h5ad(tmp_path / "predictions" / "P3-s0.h5ad")
    assert record.metrics["mse"].per_slide["P3-s0"] == pytest.approx(
        float(np.square(adata.X - truth_of(task, "P3-s0")).mean()), rel=1e-6
    )


def test_every_draw_is_scored_and_does_not_depend_on_how_many_there_are(task, method, tmp_path):
    card = method("SlideMean", kind="generative", draws=8)
    many, few = (
        run_method(task, card, folder=tmp_path / str(draws), draws=draws).metrics_single_draw["mse"] for draws in (5, 2)
    )
    for slide_id, values in many.per_slide.items():
        layers = anndata.read_h5ad(tmp_path / "5" / "predictions" / f"{slide_id}.h5ad").layers
        expected = [np.square(layers[f"draw_{k}"] - truth_of(task, slide_id)).mean() for k in range(5)]
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        assert values[:2] == few.per_slide[slide_id]
    np.testing.assert_allclose(many.per_draw, np.mean(list(many.per_slide.values()), axis=0))
    assert many.std_draws == pytest.approx(np.std(many.per_draw, ddof=1))
    assert many.per_draw[:2] == few.per_draw


def test_point_prediction_has_no_single_draws(task, method, tmp_path):
    record = run_method(task, method("SlideMean"), folder=tmp_path, draws=5)
    assert record.draws == 1
    assert record.metrics_single_draw == {}


def test_a_sampler_switched_to_a_point_prediction(task, method, tmp_path):
    record = run_method(task, method("Point", kind="generative", draws=8), folder=tmp_path)
    assert (record.status, record.draws, record.metrics_single_draw) == ("done", 1, {})


def test_one_sample_is_a_single_draw(task, method, tmp_path):
    record = run_method(task, method("SlideMean", kind="generative", draws=8), folder=tmp_path, draws=1)
    assert record.draws == 1
    assert record.metrics_single_draw["mse"].mean == record.metrics["mse"].mean


def checkpoint(folder):
    """Bytes of every tensor, and the metadata (whose order in the file is not fixed)."""
    with safe_open(str(folder / "checkpoint.safetensors"), framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_labels_of_test_slides_change_scores_alone(slides, card, settings, method, tmp_path):
    changed = [scrambled(slide) if slide.id in ("P3-s0", "P3-s1", "P2-s1") else slide for slide in slides]
    generative = method("SlideMean", kind="generative", draws=2)
    records = []
    for name, some in (("a", slides), ("b", changed)):
        task = build_task(make_cohort(some), card, settings)
        records.append(run_method(task, generative, folder=tmp_path / name))
    assert checkpoint(tmp_path / "a") == checkpoint(tmp_path / "b")
    for slide in ("P2-s1", "P3-s0", "P3-s1"):
        first, second = (anndata.read_h5ad(tmp_path / name / "predictions" / f"{slide}.h5ad") for name in "ab")
        for layer in ("draw_0", "draw_1", "posterior_mean"):
            np.testing.assert_array_equal(first.layers[layer], second.layers[layer])
    assert records[0].metrics["mse"].mean != records[1].metrics["mse"].mean


def test_calibrated_draws_keep_their_mean_and_say_so(task, method, tmp_path):
    card = method("Sampler", kind="generative", draws=4)
    plain = run_method(task, card, folder=tmp_path / "plain")
    record = run_method(task, card, folder=tmp_path / "on", overrides={"calibrate": "true"})
    assert "calibrate" not in plain.settings
    assert record.settings["calibrate"]
    assert record.metrics["pcc"] == plain.metrics["pcc"]
    drawn = read_prediction(tmp_path / "on", "P3-s0").prediction.draws
    expected = crps(truth_of(task, "P3-s0"), drawn, calibration=record.calibration)
    assert record.metrics["crps"].per_slide["P3-s0"] == expected != crps(truth_of(task, "P3-s0"), drawn)
    assert plain.calibration is None
    (said,) = record.notes
    assert said.startswith("calibrated: draws scaled around their mean by s = ")
    assert plain.notes == []


def test_labels_of_test_slides_do_not_calibrate(slides, card, settings, method, tmp_path):
    changed = [scrambled(slide) if slide.id in ("P3-s0", "P3-s1", "P2-s1") else slide for slide in slides]
    generative, digests = method("Sampler", kind="generative", draws=3), []
    for name, some in (("a", slides), ("b", changed)):
        task = build_task(make_cohort(some), card, settings)
        record = run_method(task, generative, folder=tmp_path / name, overrides={"calibrate": "true"})
        digests.append((record.predictions, record.notes))
    assert digests[0] == digests[1]
    assert checkpoint(tmp_path / "a") == checkpoint(tmp_path / "b")


def test_a_resumed_run_is_calibrated_as_before(task, method, tmp_path, monkeypatch):
    card, on = method("Sampler", kind="generative", draws=3), {"calibrate": "true"}
    monkeypatch.setenv("STBENCH_TEST_STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        run_method(task, card, folder=tmp_path / "a", overrides=on)
    monkeypatch.delenv("STBENCH_TEST_STOP")
    resumed = run_method(task, card, folder=tmp_path / "a", overrides=on, resume=True)
    straight = run_method(task, card, folder=tmp_path / "b", overrides=on)
    assert resumed.predictions == straight.predictions
    assert resumed.notes == ["resumed after fitting", *straight.notes]
    assert resumed.calibration == straight.calibration > 0


def test_one_draw_is_not_calibrated(task, method, tmp_path):
    with pytest.raises(SettingError, match="expected at least 2 draws, found 1"):
        run_method(
            task, method("Sampler", kind="generative", draws=1), folder=tmp_path, overrides={"calibrate": "true"}
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "needs", "value"), [
    ("oracle", [], 10), ("oracle", ["features"], 13), ("control", [], 0), ("control", ["features"], 3),
    ("discriminative", [], 3), ("generative", ["features"], 3),
])  # fmt: skip
def test_depth_is_for_oracles_and_features_for_who_asks(task, method, tmp_path, kind, needs, value):
    record = run_method(task, method("Depth", kind=kind, needs=needs), folder=tmp_path)
    adata = anndata.read_h5ad(tmp_path / "predictions" / "P3-s0.h5ad")
    np.testing.assert_array_equal(adata.X, value)
    assert record.encoder == ("mean-rgb/1" if value % 10 else "none")


def test_bound_encoder(slides, card, settings, method, tmp_path):
    task = build_task(make_cohort(slides), card, replace(settings, encoder="handcrafted-v1"))
    record = run_method(task, method("Depth", encoder="mean-rgb"), folder=tmp_path)
    assert (record.encoder, record.task.encoder) == ("mean-rgb/1", "handcrafted-v1/1")


def test_a_method_whose_encoder_needs_pictures_is_refused_where_there_are_none(
    slides, card, settings, method, tmp_path
):
    made = make_slides(slides, SemisyntheticSettings(n_genes=8, dim=8))
    made[0] = replace(made[0], image=slides[0].image)
    task = build_task(make_cohort(made), card, replace(settings, encoder="given"))
    bound = run_method(task, method("SlideMean", encoder="mean-rgb"), folder=tmp_path / "bound")
    assert bound.status == "refused"
    assert bound.reason == "needs pictures for its encoder mean-rgb, found none on 6 of 7 slides"
    assert read_record(tmp_path / "bound") == bound
    free = run_method(task, method("Depth", needs=["features"]), folder=tmp_path / "free")
    assert (free.status, free.encoder) == ("done", "given/1")
    adata = anndata.read_h5ad(tmp_path / "free/predictions/P3-s0.h5ad")
    assert adata.X[0, 0] == 8  # width of the features
    assert adata.uns["stbench"]["origin"] == "real"


def test_a_method_cannot_spoil_the_task(task, method, tmp_path):
    run_method(task, method("Vandal"), folder=tmp_path / "a")
    spoilt = run_method(task, method("SlideMean"), folder=tmp_path / "b")
    fresh = run_method(replace(task, _features={}, _expression={}), method("SlideMean"), folder=tmp_path / "c")
    assert spoilt.metrics == fresh.metrics


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("PredictsNan", "slide P2-s1: 1 of 80 predicted values are not finite"),
        ("WrongShape", "slide P2-s1: expected a prediction of shape (1, 16, 5) in float32, found (1, 15, 5)"),
        ("WrongType", "in float64"),
        ("Crashes", "ZeroDivisionError: division"),
        ("Exits", "SystemExit: 3"),
        ("GivesUp", "the loss is not finite after 3 updates"),
    ],
)
def test_a_method_that_fails_leaves_a_row(task, method, tmp_path, name, said):
    record = run_method(task, method(name), folder=tmp_path)
    assert record.status == "failed"
    assert said in record.reason
    assert "\n" not in record.reason
    assert "Traceback" in (tmp_path / "log.jsonl").read_text()
    assert read_record(tmp_path) == record


def test_a_method_that_refuses_leaves_a_row(task, method, tmp_path):
    record = run_method(task, method("Refuses"), folder=tmp_path)
    assert (record.status, record.reason) == ("refused", "needs more than two slides")


def test_a_wrong_setting_is_the_users(task, method, tmp_path):
    with pytest.raises(UserError, match="prior file"):
        run_method(task, method("BadInput"), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UnknownNameError, match="scale"):
        run_method(task, method("SlideMean"), folder=tmp_path / "run", overrides={"scal": "1"})
    with pytest.raises(SettingError, match="at least 1 draw"):
        run_method(task, method("SlideMean"), folder=tmp_path / "run", draws=0)
    assert not (tmp_path / "run").exists()


def test_folder_of_another_run(task, method, tmp_path):
    run_method(task, method("SlideMean"), folder=tmp_path)
    with pytest.raises(UserError, match=r"setting scale 0.1 -> 0.2; seed 0 -> 1|seed 0 -> 1; setting scale 0.1 -> 0.2"):
        run_method(task, method("SlideMean"), folder=tmp_path, seed=1, overrides={"scale": "0.2"}, resume=True)


def test_folder_of_the_same_run(task, method, tmp_path):
    run_method(task, method("SlideMean"), folder=tmp_path)
    with pytest.raises(UserError, match="--resume continues it, or choose another --out"):
        run_method(task, method("SlideMean"), folder=tmp_path)


def test_folder_of_something_else(task, method, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"found thesis\.txt"):
        run_method(task, method("SlideMean"), folder=tmp_path)
    with pytest.raises(UserError, match="found a file"):
        run_method(task, method("SlideMean"), folder=tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("logged", [True, False])
def test_the_log_stands_in_for_a_damaged_key(task, method, tmp_path, logged, monkeypatch):
    card, told = method("Interrupted", kind="generative", draws=2), Told()
    straight = run_method(task, card, folder=tmp_path / "straight")
    monkeypatch.setenv("STBENCH_TEST_STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        run_method(task, card, folder=tmp_path / "run")
    monkeypatch.delenv("STBENCH_TEST_STOP")
    said = (tmp_path / "run/run.json").read_text()
    (tmp_path / "run/run.json").write_text(said.replace('"seed": 0', '"seed": 1'))
    if not logged:
        (tmp_path / "run/log.jsonl").write_text("")
    with pytest.raises(UserError, match="already holds this run" if logged else "expected the key of a run"):
        run_method(task, card, folder=tmp_path / "run")
    record = run_method(task, card, folder=tmp_path / "run", resume=True, reporter=told)
    assert "by its hash; " in told.lines[0]
    assert told.lines[0].endswith("takes its place" if logged else "begins anew")
    assert (record.predictions, record.metrics) == (straight.predictions, straight.metrics)
    assert record.notes == (["resumed after fitting"] if logged else [])
    assert (tmp_path / "run/run.json").read_text() == said


def test_a_folder_of_another_run_is_no_damaged_one(task, method, tmp_path):
    run_method(task, method("SlideMean"), folder=tmp_path, seed=3)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="belongs to another run: seed 3 -> 0; choose another --out"):
        run_method(task, method("SlideMean"), folder=tmp_path, resume=True)
    (tmp_path / "log.jsonl").unlink()
    with pytest.raises(UserError, match=r"expected the key of a run in .*; choose another --out"):
        run_method(task, method("SlideMean"), folder=tmp_path, resume=True)
    assert read_record(tmp_path).seed == 3


def test_what_a_killed_attempt_left_half_written_goes(task, method, tmp_path):
    (tmp_path / ".run.999999999.7.part.json").write_text("{")
    assert run_method(task, method("SlideMean"), folder=tmp_path).status == "done"
    assert not list(tmp_path.rglob(".*"))


def test_a_damaged_record_is_scored_again(task, method, tmp_path):
    card, told = method("SlideMean"), Told()
    record = run_method(task, card, folder=tmp_path)
    text = (tmp_path / "record.json").read_text()
    (tmp_path / "record.json").write_text(text.replace('"n_genes": 5', '"n_genes": 6'))
    with pytest.raises(UserError, match=r"expected a record in .*by its hash; run it again"):
        read_record(tmp_path)
    again = run_method(task, card, folder=tmp_path, resume=True, reporter=told)
    assert "record.json" in told.lines[0]
    assert (again.metrics, again.predictions) == (record.metrics, record.predictions)
    assert again.notes == ["resumed after fitting"]


def test_resume_returns_the_finished_record(task, method, tmp_path):
    first = run_method(task, method("SlideMean"), folder=tmp_path)
    before = (tmp_path / "record.json").stat().st_mtime_ns
    assert run_method(task, method("SlideMean"), folder=tmp_path, resume=True) == first
    assert (tmp_path / "record.json").stat().st_mtime_ns == before


def test_resume_after_an_interrupted_prediction(task, method, tmp_path, monkeypatch):
    card = method("Interrupted", kind="generative", draws=2)
    monkeypatch.setenv("STBENCH_TEST_STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        run_method(task, card, folder=tmp_path / "a")
    monkeypatch.delenv("STBENCH_TEST_STOP")
    with (tmp_path / "a" / "log.jsonl").open("a") as log:
        log.write('{"event": "sli')  # killed while writing
    first_slide = (tmp_path / "a" / "predictions" / "P2-s1.h5ad").stat().st_mtime_ns
    record = run_method(task, card, folder=tmp_path / "a", resume=True)
    assert record.status == "done"
    assert record.notes == ["resumed after fitting"]
    assert (tmp_path / "a" / "predictions" / "P2-s1.h5ad").stat().st_mtime_ns == first_slide
    straight = run_method(task, card, folder=tmp_path / "b")
    assert straight.metrics == record.metrics
    assert straight.metrics_single_draw == record.metrics_single_draw


def test_resume_after_interrupted_fitting(task, method, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_method(task, method("StopsFitting"), folder=tmp_path)
    record = run_method(task, method("StopsFitting"), folder=tmp_path, resume=True)
    assert record.status == "done"
    assert not (tmp_path / "work").exists()


def test_a_failed_run_is_tried_again(task, method, tmp_path):
    first = run_method(task, method("Crashes"), folder=tmp_path)
    again = run_method(task, method("Crashes"), folder=tmp_path, resume=True)
    assert first.status == again.status == "failed"
    assert (tmp_path / "log.jsonl").read_text().count('"start"') == 2


def test_damaged_checkpoint_is_fitted_again(task, method, tmp_path):
    record = run_method(task, method("SlideMean"), folder=tmp_path)
    (tmp_path / "record.json").unlink()
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    told = Told()
    again = run_method(task, method("SlideMean"), folder=tmp_path, resume=True, reporter=told)
    assert again.metrics == record.metrics
    assert "it is fitted again" in told.lines[0]


def test_slow_methods_say_so(task, method, tmp_path):
    told = Told()
    card = method("Slow", presets={"small": {}})
    run_method(task, card, folder=tmp_path / "a", reporter=told)
    run_method(task, card, folder=tmp_path / "b", reporter=told, preset="small")
    run_method(task, method("SlideMean"), folder=tmp_path / "c", reporter=told)
    assert told.lines == [
        "slow: about 20 min on cpu (measured on a few steps); --preset small is made for this machine",
        "slow: about 20 min on cpu (measured on a few steps)",
    ]


@pytest.mark.parametrize(("seconds", "said"), [(42.4, "about 42 s"), (240, "about 4 min"), (9000, "about 2.5 h")])
def test_duration(seconds, said):
    assert duration(seconds) == said


def test_declared_draws(method):
    assert declared_draws(method("SlideMean", kind="generative", draws=8), None) == 8
    assert declared_draws(method("SlideMean", kind="generative", draws=8), 3) == 3
    assert declared_draws(method("SlideMean", kind="control", draws=8), 1) == 1
    assert declared_draws(method("SlideMean"), 3) == 1
