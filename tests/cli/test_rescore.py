"""`stbench rescore` and `stbench leaderboard --rescore`, on a tiny simulated cohort."""

import json
from pathlib import Path

import pytest

from stbench.evaluation.record import read_record

from .conftest import TINY

RUN = ["run", "--method", "training-mean", "--no-controls", *TINY, "--encoder", "mean-rgb", "--genes", "5", "--out"]
RECORD = Path("mine/training-mean/record.json")


@pytest.fixture
def run(stbench):
    """A run whose record holds no score of SSC and another one of MSE; gives the record it had."""
    assert stbench(*RUN, "mine").code == 0
    record = read_record(RECORD)
    said = json.loads(RECORD.read_text())
    del said["metrics"]["ssc"], said["seal"]
    said["metrics"]["mse"]["mean"] = 9.0
    RECORD.write_text(json.dumps(said))
    return record


def test_scores_are_replaced(stbench, run):
    ended = stbench("rescore", "mine")
    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    assert line.startswith("mine/training-mean: ")
    assert line.endswith(f"mse 9 -> {run.metrics['mse'].mean:.4g}, 1 new metric")
    assert read_record(RECORD) == run


def test_a_leaderboard_of_new_scores_leaves_the_records(stbench, run):
    before = RECORD.read_bytes()
    ended = stbench("leaderboard", "mine", "--rescore", "--metric", "mse", "--metric", "ssc")
    assert ended.code == 0, ended.err
    assert f"{run.metrics['mse'].mean:.2f} " in ended.out
    assert "9.00" not in ended.out
    (page,) = Path("leaderboards").glob("*.md")
    assert "stbench leaderboard mine --metric mse --metric ssc --rescore" in page.read_text()
    assert RECORD.read_bytes() == before
    (archive,) = Path("leaderboards").glob("*.xz")
    assert "expected the folder of a run" in stbench("leaderboard", str(archive), "--rescore").reason


def test_one_bad_run_leaves_all_records(stbench, run):
    assert stbench(*RUN, "other").code == 0
    (slide,) = run.task.test
    (Path("other/training-mean/predictions") / f"{slide}.h5ad").write_bytes(b"half")
    before = RECORD.read_bytes()
    assert (
        f"expected a prediction of slide {slide} in other/training-mean" in stbench("rescore", "mine", "other").reason
    )
    assert RECORD.read_bytes() == before
    assert stbench("leaderboard", "mine", "other", "--rescore").code == 2
