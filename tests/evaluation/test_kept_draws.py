"""Draws that are not kept leave their mean and spread, and no score moves."""

import anndata
import numpy as np
import pytest

from stbench.errors import DataError, SettingError
from stbench.evaluation import run as running
from stbench.evaluation.export import export_run
from stbench.evaluation.kept_draws import kept_of, most_kept
from stbench.evaluation.predictions import digest_of, prediction_path, read_prediction
from stbench.evaluation.record import read_record
from stbench.evaluation.request import Request
from stbench.evaluation.rescore import rescore
from stbench.evaluation.run import run_method

SLIDES = ("P2-s1", "P3-s0", "P3-s1")
SCORES = ("metrics", "metrics_single_draw", "metrics_posterior_mean", "per_gene")


@pytest.fixture
def generative(method):
    return method("SlideMean", kind="generative", draws=3)


def asked(kept):
    return Request(methods=("x",), draws_kept=kept).dump()


@pytest.fixture
def every(task, generative, tmp_path):
    """Folder and record of a run that kept all draws."""
    return tmp_path / "all", run_method(task, generative, folder=tmp_path / "all", request=asked("all"))


@pytest.mark.parametrize(("kept", "left"), [("none", 0), ("2", 2)])
def test_draws_are_scored_and_then_left_out(task, generative, every, tmp_path, kept, left):
    full, before = every
    record = run_method(task, generative, folder=tmp_path / "few", request=asked(kept))
    assert all(getattr(record, name) == getattr(before, name) for name in SCORES)
    assert (record.draws, kept_of(record), kept_of(before)) == (3, left, 3)
    for slide in SLIDES:
        stored, whole = (read_prediction(folder, slide) for folder in (tmp_path / "few", full))
        draws = whole.prediction.draws
        assert record.predictions[slide] == digest_of(stored.prediction) != before.predictions[slide]
        np.testing.assert_array_equal(stored.prediction.draws, draws[:left])
        np.testing.assert_array_equal(stored.prediction.mean, whole.prediction.mean)
        np.testing.assert_array_equal(stored.prediction.posterior_mean, whole.prediction.posterior_mean)
        np.testing.assert_allclose(stored.prediction.of_all.spread, draws.std(axis=0, ddof=1), rtol=1e-5)
    adata = anndata.read_h5ad(prediction_path(tmp_path / "few", SLIDES[0]))
    assert set(adata.layers) == {*(f"draw_{k}" for k in range(left)), "posterior_mean", "spread"}
    assert (adata.uns["stbench"]["n_drawn"], adata.uns["stbench"]["n_kept"]) == (3, left)


def test_as_many_as_there_are_move_nothing(task, generative, every, tmp_path):
    record = run_method(task, generative, folder=tmp_path / "many", request=asked("3"))
    assert record.predictions == every[1].predictions


def test_a_point_is_its_mean_and_stays(task, method, tmp_path):
    card = method("SlideMean")
    before, after = (
        run_method(task, card, folder=tmp_path / kept, request=asked(kept)) for kept in ("all", "none")
    )  # fmt: skip
    assert after.predictions == before.predictions


def test_what_needs_every_draw_says_so(task, generative, tmp_path):
    run_method(task, generative, folder=tmp_path, request=asked("2"))
    with pytest.raises(DataError, match=r"expected every draw of each slide, found 2 of 3 kept; .*--keep-draws all"):
        rescore(tmp_path, None)


def test_mean_and_spread_are_exported(task, generative, tmp_path):
    record = run_method(task, generative, folder=tmp_path / "run", request=asked("none"))
    export_run(tmp_path / "run", tmp_path / "out")
    adata = anndata.read_h5ad(tmp_path / "out" / f"{SLIDES[0]}.h5ad")
    stored = read_prediction(tmp_path / "run", SLIDES[0]).prediction
    np.testing.assert_array_equal(adata.layers["spread"], stored.of_all.spread)
    np.testing.assert_array_equal(adata.X, stored.mean)
    assert record.status == "done"


def test_an_attempt_that_ended_before_its_record_draws_again(task, generative, every, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(running, "write_record", full_disk)
        with pytest.raises(OSError, match="disk full"):
            run_method(task, generative, folder=tmp_path / "run", request=asked("none"))
    assert read_prediction(tmp_path / "run", SLIDES[0]).prediction.draws.size == 0
    run_method(task, generative, folder=tmp_path / "run", request=asked("none"), resume=True)
    record = read_record(tmp_path / "run")
    assert all(getattr(record, name) == getattr(every[1], name) for name in SCORES)


@pytest.mark.parametrize(("said", "most"), [("all", None), ("none", 0), ("0", 0), ("12", 12)])
def test_words(said, most):
    assert most_kept(said) == most


@pytest.mark.parametrize("said", ["-1", "some", "", "1.5"])
def test_other_words(said):
    with pytest.raises(SettingError, match="expected none, all or a number of draws"):
        most_kept(said)
