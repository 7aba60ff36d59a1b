"""Predictions of a run written for people."""

import anndata
import numpy as np
import pytest

from stbench.errors import UserError
from stbench.evaluation.export import export_run
from stbench.evaluation.predictions import read_prediction
from stbench.evaluation.rescore import Truths
from stbench.evaluation.run import run_method

from .conftest import make_cohort
from .test_rescore import as_schema_1


@pytest.fixture
def truths(slides, card, monkeypatch, tmp_path):
    monkeypatch.setattr("stbench.evaluation.rescore.open_dataset", lambda *_, **__: (make_cohort(slides), card))
    return Truths(None, tmp_path / "cache")


@pytest.fixture
def run(task, method, tmp_path):
    run_method(task, method("SlideMean", kind="generative", draws=2), folder=tmp_path / "run", command="stbench ...")
    return tmp_path / "run"


def read(folder):
    return {path.stem: anndata.read_h5ad(path) for path in folder.glob("*.h5ad")}


def test_predictions_without_the_truth(task, run, tmp_path):
    assert export_run(run, tmp_path / "out") == ["P2-s0", *task.facts.test]
    found = read(tmp_path / "out")
    assert set(found) == {"P2-s0", "P2-s1", "P3-s0", "P3-s1"}
    for id_, adata in found.items():
        stored = read_prediction(run, id_)
        np.testing.assert_array_equal(adata.X, stored.prediction.mean)
        np.testing.assert_array_equal(adata.layers["draw_1"], stored.prediction.draws[1])
        np.testing.assert_array_equal(adata.obsm["spatial"], stored.xy)
        assert (list(adata.obs_names), list(adata.var_names)) == (stored.spot_ids, stored.genes)
        assert set(adata.layers) == {"draw_0", "draw_1", "posterior_mean"}
        assert adata.obs.empty
        assert adata.uns["spatial"][id_]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(0.55 * 20)
    assert found["P2-s0"].uns["stbench"]["part"] == "validation"
    assert found["P3-s0"].uns["stbench"]["scale"].startswith("log1p")


def test_the_truth_of_test_slides_alone(task, run, truths, tmp_path):
    export_run(run, tmp_path / "out", truths)
    found = read(tmp_path / "out")
    for slide in task.test:
        adata = found[slide.inputs.slide_id]
        np.testing.assert_array_equal(adata.layers["truth"], slide.expression)
        np.testing.assert_array_equal(adata.obs["total_counts"], slide.total_counts)
    assert "truth" not in found["P2-s0"].layers


def test_truth_that_schema_1_stored(task, run, tmp_path):
    as_schema_1(run, task)
    export_run(run, tmp_path / "bare")
    assert all("truth" not in adata.layers for adata in read(tmp_path / "bare").values())
    export_run(run, tmp_path / "full", Truths(None, tmp_path / "cache"))
    assert set(read(tmp_path / "full")) == set(task.facts.test)
    assert all("truth" in adata.layers for adata in read(tmp_path / "full").values())


def test_what_is_refused(task, method, run, truths, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").touch()
    with pytest.raises(UserError, match=r"expected a new or empty folder, found .*used in use"):
        export_run(run, tmp_path / "used")
    run_method(task, method("Crashes"), folder=tmp_path / "crashed")
    with pytest.raises(UserError, match=r"expected a finished run in .*, found one that failed: ZeroDivisionError"):
        export_run(tmp_path / "crashed", tmp_path / "out")
    with pytest.raises(UserError, match=r"expected one run in .*, found 2; name one of them, such as .*crashed"):
        export_run(tmp_path, tmp_path / "out")
    (run / "predictions" / "P3-s0.h5ad").write_bytes(b"half")
    with pytest.raises(UserError, match="expected a prediction of slide P3-s0"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
