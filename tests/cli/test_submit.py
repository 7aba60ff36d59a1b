"""`stbench submit` and `stbench leaderboard --check`: what is handed in, scored again, and what is refused."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest

from stbench.cli.main import main
from stbench.errors import DataError
from stbench.evaluation.checked import Rebuilt
from stbench.evaluation.predictions import digest_of, prediction_path, read_prediction, rewrite_prediction
from stbench.evaluation.record import Record, TaskFacts, read_record, write_record
from stbench.evaluation.rescore import Truths, scored_slide
from stbench.evaluation.seals import seal_file
from stbench.evaluation.submission import FILE_NAME, sent_files
from stbench.files import read_sealed, sha256_of, write_sealed

from .conftest import TINY

SMALL = [*TINY, "--encoder", "mean-rgb", "--genes", "5", "--no-controls"]
RUN = ["run", "--method", "ridge", "--method", "linear-gaussian", "--draws", "2", *SMALL, "--out", "mine"]
METHODS = """
import numpy as np

from stbench.methods.base import Method


class Mine(Method):
    card = {"kind": "discriminative"}

    def fit(self, train, validation, context):
        self.level = np.concatenate([slide.expression for slide in train]).mean(axis=0)

    def predict(self, inputs, draws, seed):
        return np.tile(self.level, (1, len(inputs.xy), 1)).astype(np.float32)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A folder with a run of two methods, and what was handed in of it."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("STBENCH_CACHE", str(cache))
        assert main(RUN) == 0
        assert main(["submit", "mine", "--licence", "cc-by-4.0", "--contact", "me@example.org"]) == 0
    return folder


@pytest.fixture
def sent(made, tmp_path):
    """A copy of what was handed in, in the current folder."""
    shutil.copytree(made / "mine", tmp_path / "mine")
    shutil.copytree(made / "mine-submission", tmp_path / "sent")
    return Path("sent")


@pytest.fixture
def refused(stbench):
    """Checks ``sent`` and gives the line that refuses it; nothing is written."""

    def reason():
        ended = stbench("leaderboard", "--check", "sent")
        assert (ended.code, Path("leaderboards").exists()) == (2, False), ended
        assert "Traceback" not in ended.err
        return ended.err.splitlines()[-1]

    return reason


def named_again(folder=Path("sent")):
    """What a sender can do who knows the format: the list of files fits whatever lies in the folder."""
    said = read_sealed(folder / FILE_NAME)
    files = {name: file.model_dump() for name, file in sent_files(folder).items()}
    write_sealed(folder / FILE_NAME, {**said, "files": files})


def claim(method="ridge", **changes):
    """Write another record, and name it again."""
    folder = Path("sent", method)
    write_record(Record.model_validate({**read_record(folder).model_dump(), **changes}), folder)
    named_again()


def claim_task(**changes):
    claim(task={**read_record(Path("sent/ridge")).task.model_dump(), **changes})


def predict(slide, change, method="ridge"):
    """Write another prediction whose hash the record holds, and name both again."""
    folder, record = Path("sent", method), read_record(Path("sent", method))
    stored = read_prediction(folder, slide)
    stored = replace(stored, prediction=change(stored.prediction))
    path = rewrite_prediction(folder, stored)
    adata = anndata.read_h5ad(path)
    del adata.uns["stbench"]["n_kept"]
    adata.uns["stbench"]["n_drawn"] = len(stored.prediction.draws)
    adata.write_h5ad(path, compression="gzip")
    seal_file(folder, path)
    claim(method, predictions={**record.predictions, slide: digest_of(stored.prediction)})


def test_what_is_handed_in(made):
    folder = made / "mine-submission"
    said, record = json.loads((folder / FILE_NAME).read_text()), read_record(folder / "ridge")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    slides = [*record.task.validation, *record.task.test]
    names = ["record.json", "seals.json", *(f"predictions/{slide}.h5ad" for slide in slides)]
    assert found == {FILE_NAME, *(f"{method}/{name}" for method in ("ridge", "linear-gaussian") for name in names)}
    assert said["files"].keys() == found - {FILE_NAME}
    assert (said["licence"], said["contact"]) == ("CC-BY-4.0", "me@example.org")
    model = made / "mine/ridge/checkpoint.safetensors"
    assert said["models"]["ridge"] == sha256_of(model)
    assert record.predictions == read_record(made / "mine/ridge").predictions


def test_it_is_scored_again_and_its_row_is_marked(stbench, sent):
    before = read_record(sent / "ridge")
    ended = stbench("leaderboard", "mine", "--check", sent)
    assert ended.code == 0, ended.err
    n = len(before.metrics)
    assert f"ridge: {n} metrics scored again, as claimed (pcc {before.metrics['pcc'].mean:.4f})" in ended.out
    assert "sent: re-scored; licence CC-BY-4.0, contact me@example.org" in ended.out
    (page,) = Path("leaderboards").glob("*.md")
    text = page.read_text()
    assert "*ridge (re-scored)*" in text
    assert "| *ridge* |" in text
    assert "Training was not repeated" in text
    (archive,) = Path("leaderboards").glob("*.xz")
    assert stbench("leaderboard", archive, "--out", "again").code == 0
    assert Path("again", page.name).read_text().partition("To repeat:")[0] == text.partition("To repeat:")[0]


def test_a_method_of_ones_own_leaves_no_path(stbench, tmp_path):
    (tmp_path / "methods.py").write_text(METHODS)
    ours = f"{tmp_path}/methods.py:Mine"
    assert stbench("run", "--method", ours, *SMALL, "--out", "own").code == 0
    ended = stbench("submit", "own", "--licence", "MIT", "--out", "sent")
    assert ended.code == 0, ended.err
    assert "sent: 1 run" in ended.out
    record = read_record(Path("sent/mine"))
    assert (record.entry, record.code) == ("methods.py:Mine", read_record(Path("own/mine")).code)
    assert str(tmp_path) not in Path("sent/mine/record.json").read_text()
    (tmp_path / "methods.py").unlink()  # whoever checks has no such file
    assert stbench("leaderboard", "--check", "sent").code == 0
    claim("mine", kind="control")
    assert "expected a method of your own to be generative or discriminative, found control" in (
        stbench("leaderboard", "--check", "sent").reason
    )


def test_what_is_not_handed_in(stbench, sent):
    assert "--licence: expected an SPDX expression such as CC-BY-4.0, found 'free'" in (
        stbench("submit", "mine", "--licence", "free").reason
    )
    assert "contact" in stbench("submit", "mine", "--licence", "MIT", "--contact", "a\nb").reason
    assert "unknown method in mine 'rigde': did you mean ridge?" in (
        stbench("submit", "mine", "--licence", "MIT", "--method", "rigde").reason
    )
    assert "found sent in use" in stbench("submit", "mine", "--licence", "MIT", "--out", "sent").reason
    ended = stbench("submit", "mine", "--licence", "MIT", "--method", "linear-gaussian")
    assert (ended.code, ended.out.splitlines()[0][:22]) == (0, "mine-submission: 1 run")
    shutil.copytree("mine/ridge", "mine/ridge-seed1")
    Path("mine/ridge-seed1/record.json").unlink()
    assert "mine/ridge-seed1: expected a finished run, found no record.json" in (
        stbench("submit", "mine", "--licence", "MIT", "--out", "more").reason
    )


def test_runs_that_failed_or_kept_no_draws(stbench, sent):
    record = read_record(Path("mine/ridge"))
    write_record(record.model_copy(update={"status": "failed", "reason": "no memory"}), Path("mine/ridge"))
    assert "found one that is failed: no memory" in stbench("submit", "mine", "--licence", "MIT").reason
    assert stbench(*RUN[:-1], "few", "--keep-draws", "none").code == 0
    assert "--keep-draws all" in stbench("submit", "few", "--licence", "MIT").reason
    assert not Path("few-submission").exists()


def test_files_that_were_changed(refused, sent):
    (slide,) = read_record(sent / "ridge").task.test
    path = prediction_path(sent / "ridge", slide)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    assert f"expected ridge/predictions/{slide}.h5ad as it was sent, found another by its SHA-256" in refused()
    path.write_bytes(whole[:1000])
    assert f"bytes in ridge/predictions/{slide}.h5ad, found 1000" in refused()
    named_again()
    reason = refused()
    assert f"expected a prediction of slide {slide} in sent/ridge" in reason
    assert reason.endswith("; have it sent again")
    path.unlink()
    assert f"ridge/predictions/{slide}.h5ad, found no such file" in refused()
    named_again()
    assert f"ridge/predictions/{slide}.h5ad missing" in refused()


def test_files_that_were_swapped(refused, sent):
    record = read_record(sent / "ridge")
    first, second = (prediction_path(sent / "ridge", id_) for id_ in (*record.task.test, *record.task.validation))
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    for path in (first, second):
        seal_file(sent / "ridge", path)
    named_again()
    assert "of slide" in refused()
    shutil.copytree(Path("mine/linear-gaussian/predictions"), sent / "ridge/predictions", dirs_exist_ok=True)
    for path in (first, second):
        seal_file(sent / "ridge", path)
    named_again()
    assert "that was scored, found another" in refused()


def test_scores_that_were_changed(refused, sent):
    scores = read_record(sent / "ridge").model_dump()["metrics"]
    claim(metrics={**scores, "mse": {**scores["mse"], "mean": 0.01}})
    found = f"computed {scores['mse']['mean']:.6g}; refused"
    assert f"sent/ridge: expected the scores of its predictions, found another mse: claimed 0.01, {found}" in refused()


def test_predictions_that_were_changed(refused, sent):
    record = read_record(sent / "ridge")
    (slide,) = record.task.test
    predict(slide, lambda said: replace(said, draws=said.draws * 0.5))
    assert f"claimed {record.metrics['crps'].mean:.6g}, computed" in refused()


@pytest.mark.parametrize(("value", "said"), [(np.nan, "values (not finite)"), (3e38, "sent/ridge: expected")])
def test_predictions_that_no_metric_is_made_for(refused, sent, value, said):
    (slide,) = read_record(sent / "ridge").task.test
    predict(slide, lambda one: replace(one, draws=np.full_like(one.draws, value)))
    assert said in refused()


def test_a_truth_of_ones_own_beside_the_prediction(refused, sent):
    """Versions before schema 2 stored it there, and it was believed."""
    record = read_record(sent / "ridge")
    (slide,) = record.task.test
    path = prediction_path(sent / "ridge", slide)
    adata = anndata.read_h5ad(path)
    adata.layers["truth"], adata.obs["total_counts"] = adata.X.copy(), np.ones(adata.n_obs)
    adata.write_h5ad(path)
    seal_file(sent / "ridge", path)
    scores = record.model_dump()["metrics"]
    perfect = {**scores["mse"], "mean": 0.0, "per_slide": {slide: 0.0}}
    claim(metrics={**scores, "mse": perfect})
    assert "found another mse: claimed 0, computed" in refused()
    claim(metrics={**scores, "mse": perfect}, schema_version=1)
    assert "expected a record of schema 2, found 1" in refused()


def test_draws_that_are_not_there(refused, sent):
    claim("linear-gaussian", draws=8)
    assert "expected 8 draws of slide" in refused()


@pytest.mark.parametrize("make", [lambda path, to: path.symlink_to(to), lambda path, to: os.mkfifo(path)])
def test_links_and_pipes(refused, sent, make):
    path = sent / "ridge/record.json"
    shutil.move(path, "elsewhere.json")
    make(path, Path("elsewhere.json").resolve())
    assert f"found {'a link' if path.is_symlink() else 'no file'} at ridge/record.json" in refused()
    path.unlink()
    shutil.move("elsewhere.json", path)
    make(sent / "ridge/more", Path("mine").resolve())
    assert "at ridge/more; remove it" in refused()


def test_files_that_nobody_named(refused, sent):
    (sent / "ridge/model.pt").write_bytes(b"x")
    assert "found 'ridge/model.pt' too; remove it" in refused()
    named_again()
    assert "found ridge/model.pt beside them" in refused()


@pytest.mark.parametrize("name", ["../mine/ridge/record.json", "/etc/passwd", "a/./b", "a//b", "a\\b", "x/" * 20 + "x"])
def test_names_that_lead_out(refused, sent, name):
    said = read_sealed(sent / FILE_NAME)
    said["files"][name] = said["files"]["ridge/record.json"]
    write_sealed(sent / FILE_NAME, said)
    assert "expected a file within the folder" in refused()


def test_a_list_that_is_none(refused, sent):
    for text in ("", "[]", "{", "[" * 100_000, json.dumps({"files": {}})):
        (sent / FILE_NAME).write_text(text)
        assert "expected what stbench submit wrote in sent/submission.json" in refused()
    (sent / FILE_NAME).unlink()
    assert "sent/submission.json" in refused()
    shutil.rmtree(sent)
    assert "expected a folder that stbench submit wrote" in refused()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"genes": ["GENE0001", "GENE0002", "GENE0003", "GENE0004", "GENE0005"]}, "another genes: claimed"),
        ({"protocol": "patient"}, "another rule: claimed slide, computed patient"),
        ({"protocol": "kfold-3-2"}, "another rule: claimed slide, computed kfold-3"),
        ({"hash": "a" * 64}, "another hash: claimed aaaa"),
        ({"data_digest": "b" * 64}, "another data_digest: claimed bbbb"),
        ({"train": ["P01S1"], "validation": ["P03S1"]}, "another train: claimed"),
        ({"encoder": "uni/1/aaaa"}, "another protocol_hash: claimed"),
        ({"simulated": False}, "another simulated: claimed False, computed True"),
        ({"n_spots": {"P01S1": 16, "P02S1": 16, "P09S1": 16}}, "expected slide P09S1 of simulated, found no such"),
    ],
)
def test_another_task_than_the_cohort_gives(made, cache, changes, said):
    record = read_record(made / "mine-submission/ridge")
    Rebuilt(None, cache).of(record)
    task = TaskFacts.model_validate({**record.task.model_dump(), **changes})
    with pytest.raises(DataError, match=said):
        Rebuilt(None, cache).of(record.model_copy(update={"task": task}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"simulate": [*TINY[1::2], "seed=7"]}, "found another genes: claimed"),
        ({"simulate": ["n_spots=9999"]}, "--simulate n_spots"),
        ({"dataset": "her2st"}, "--simulate: expected only with --dataset"),
        ({"dataset": "her2st", "simulate": []}, "her2st: no data root given; set --data-root"),
        ({"dataset": "/etc"}, "expected a cohort that others can have, of stbench datasets list, found '/etc'"),
        ({"test_dataset": "../mine"}, "expected a cohort that others can have"),
        ({"patients": "/etc/passwd"}, "found patients: Input should be None"),
        ({"genes_table": "/etc/passwd"}, "found genes_table: Input should be None"),
        ({"split_seed": -1}, "split_seed"),
        ({"patch": "1e9px"}, "--patch"),
    ],
)
def test_another_cohort(refused, sent, changes, said):
    claim(request={**read_record(sent / "ridge").request, **changes})
    assert said in refused()


def test_a_record_that_calls_itself_more_than_it_is(stbench, refused, sent):
    claim(kind="ceiling")
    assert "expected ridge as stbench has it (generative, discriminative, control), found ceiling" in refused()
    fake = {"measured": {"pcc": {"mean": 1.0, "std": None, "per_slide": {}}}}
    claim(kind="control", references=fake, rescored=True, closed_with=True)
    assert stbench("leaderboard", "--check", sent).code == 0
    (page,) = Path("leaderboards").glob("*.md")
    assert "measured panel" not in page.read_text()


def test_a_secret_cohort_takes_its_seed(stbench, tmp_path_factory):
    seed = tmp_path_factory.mktemp("kept") / "board.seed"
    words = ["run", "--method", "ridge", *SMALL, "--secret", seed, "--out", "hidden"]
    assert stbench(*words).code == 0
    assert stbench("submit", "hidden", "--licence", "MIT", "--out", "sent").code == 0
    assert "give its file with --secret" in stbench("leaderboard", "--check", "sent").reason
    assert stbench("leaderboard", "--check", "sent", "--secret", seed).code == 0


def test_truth_is_what_the_cohort_says(made, cache):
    """The scores of a check are those of the cohort's own slides."""
    record = read_record(made / "mine-submission/ridge")
    (slide,) = record.task.test
    truth = scored_slide(Truths(None, cache).of(record)[slide], record.task).expression
    stored = read_prediction(made / "mine-submission/ridge", slide)
    mse = float(np.mean((truth - stored.prediction.mean) ** 2))
    assert record.metrics["mse"].mean == pytest.approx(mse, rel=1e-5)
