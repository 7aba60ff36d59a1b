"""stbench from Python."""

import json

import h5py
import numpy as np
import pytest

import stbench
from stbench.cli.main import main
from stbench.errors import SettingError, UnknownNameError
from stbench.evaluation.request import Request

from .data.layouts import write_her2st

TINY = {"n_patients": 4, "sections_per_patient": 1, "n_spots": 30, "n_genes": 30}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "api-cache"))


def said(lines):
    class Telling:
        def info(self, message):
            lines.append(message)

        track = stbench.api.SILENT.track

    return Telling()


def test_a_run_is_that_of_the_command(tmp_path, capsys):
    lines = []
    asked = {"dataset": "simulated", "genes": 5, "simulate": TINY, "controls": False}
    runs = stbench.run("ridge", out=tmp_path / "py", reporter=said(lines), **asked)
    typed = ["run", "--method", "ridge", "--genes", "5", "--no-controls", "--out", str(tmp_path / "sh")]
    main([*typed, *simulated()])
    capsys.readouterr()
    (ours,), (theirs,) = (
        [json.loads(path.read_text()) for path in folder.rglob("record.json")]
        for folder in (tmp_path / "py", tmp_path / "sh")
    )
    same = ("task", "predictions", "metrics", "command", "settings", "code")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert [record.method for record in runs.records] == ["ridge"]
    assert (runs.out, runs.troubles) == (tmp_path / "py", {})
    assert lines[-1].endswith("ridge: done")
    again = stbench.run(["ridge"], out=tmp_path / "py", **asked)
    assert again.records == runs.records
    page = stbench.leaderboard(runs)
    assert page == stbench.leaderboard(tmp_path / "py") == stbench.leaderboard(*runs.records)
    assert "| ridge |" in page
    sent = stbench.submit(runs, licence="CC0-1.0")
    assert sent == tmp_path / "py-submission"
    assert "ridge (re-scored)" in stbench.leaderboard(runs, check=[sent])
    assert stbench.report(runs, out=tmp_path / "r.html") == [tmp_path / "r.html"]
    assert 'id="data-maps"' in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_study_and_a_run_that_takes_it(tmp_path):
    lines = []
    asked = {"dataset": "simulated", "genes": 5, "simulate": TINY, "split": "lopo-P02", "preset": "small"}
    study = stbench.tune("ridge-slide", out=tmp_path / "study", trials=2, inner=1, reporter=said(lines), **asked)
    assert (study.out, study.troubles) == (tmp_path / "study", [])
    place = ("lopo-P02", "ridge-slide")
    default, value = study.gains[place]
    assert value >= default
    assert [line for line in lines if "trial 2 of 2" in line]
    runs = stbench.run("ridge-slide", out=tmp_path / "runs", controls=False, tuned=study.out, **asked)
    plain, tuned = sorted(runs.records, key=lambda record: record.tuned is not None)
    assert plain.tuned is None
    assert tuned.tuned.settings == study.settings[place]
    assert set(tuned.tuned.slides) == {*tuned.task.train, *tuned.task.validation}
    with pytest.raises(SettingError, match="jobs: expected at least 1 worker, found 0"):
        stbench.tune("ridge-slide", jobs=0)


def test_what_goes_wrong_in_a_cell_is_said_and_ends_nothing(tmp_path):
    (tmp_path / "bad.py").write_text(
        "from stbench.methods.controls.ridge import Ridge\n"
        "class Bad(Ridge):\n"
        "    def fit(self, *_):\n"
        "        raise RuntimeError('no')\n"
    )
    runs = stbench.run(f"{tmp_path / 'bad.py'}:Bad", out=tmp_path / "out", genes=5, simulate=TINY, controls=False)
    assert list(runs.troubles.values()) == ["failed: RuntimeError: no"]


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"genes": 50}, "genes", (50,)),
        ({"genes": [50, 200]}, "genes", (50, 200)),
        ({"genes": "50,200"}, "genes", (50, 200)),
        ({"normalize": "cp10k-log1p"}, "normalization", ("cp10k-log1p",)),
        ({"normalization": ["log1p", "cp10k-log1p"]}, "normalization", ("log1p", "cp10k-log1p")),
        ({"set": {"flag.steps": 3}}, "overrides", ("flag.steps=3",)),
        ({"split_seed": 3}, "split_seed", 3),
        ({"controls": False}, "controls", False),
    ],
)
def test_options_as_python_gives_them(given, field, value):
    assert getattr(Request.of_words(given), field) == value


def test_faults_are_exceptions(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown option of run 'gene': did you mean genes"):
        stbench.run("ridge", gene=50)
    with pytest.raises(SettingError, match="jobs: expected at least 1"):
        stbench.run("ridge", jobs=0)
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = stbench.runs


def test_a_slide_as_scanpy_draws_it(tmp_path):
    counts = write_her2st(tmp_path / "mine", "A1")
    adata = stbench.read_slide(tmp_path / "mine")
    np.testing.assert_array_equal(adata.X.toarray(), counts)
    (name, library), *more = adata.uns["spatial"].items()
    assert (name, more) == ("A1", [])
    xy = adata.obsm["spatial"] * library["scalefactors"]["tissue_hires_scalef"]
    assert (xy.max(axis=0) <= library["images"]["hires"].shape[1::-1]).all()
    assert adata.uns["stbench"]["patient"] == "A"
    write_her2st(tmp_path / "mine", "A2")
    with pytest.raises(SettingError, match="expected one of A1, A2, found none named"):
        stbench.read_slide(tmp_path / "mine")
    adata.write_h5ad(tmp_path / "a.h5ad")


def test_predictions_are_those_of_the_run(tmp_path):
    """Of a test slide, from its picture and the places of its spots."""
    runs = stbench.run("ridge", out=tmp_path / "run", genes=5, simulate=TINY, controls=False)
    main(["datasets", "export", "simulated", str(tmp_path / "mine"), "--with-wsi", *simulated()])
    (record,) = runs.records
    slide = record.task.test[0]
    (fitted,) = [path.parent for path in runs.out.rglob("model.json")]
    found = stbench.predict(fitted, slide, dataset=str(tmp_path / "mine"), out=tmp_path / "p.h5ad")
    assert list(found) == [slide]
    (stored,) = runs.out.rglob(f"predictions/{slide}*")
    with h5py.File(stored) as file:
        np.testing.assert_array_equal(found[slide].X, file["X"][()])
    assert (tmp_path / "p.h5ad").is_file()
    with pytest.raises(SettingError, match="to: expected h5ad, found 'spatialdata'"):
        stbench.predict(fitted, slide, dataset=str(tmp_path / "mine"), to="spatialdata")


def test_pictures_are_those_of_the_command(tmp_path):
    runs = stbench.run("linear-gaussian", out=tmp_path / "run", genes=5, simulate=TINY, controls=False)
    lines = []
    written = stbench.plot(runs, out=tmp_path / "seen", reporter=said(lines))
    assert {path.suffix for path in written} == {".png", ".svg", ".csv"}
    assert sum(path.name.startswith("map-") for path in written) == 6
    assert [line.partition(":")[0] for line in lines if "left out" in line] == ["draws", "training"]
    slide = runs.records[0].task.test[0]
    (network, _) = stbench.plot(tmp_path / "run", out=tmp_path / "one", kinds=["network"], slide=slide)
    assert network == tmp_path / "one" / f"network-{slide}.png"


def simulated():
    return [word for key, value in TINY.items() for word in ("--simulate", f"{key}={value}")]
