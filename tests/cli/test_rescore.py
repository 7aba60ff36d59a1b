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


def test_gene_sets_are_scored_in_a_run_or_afterwards(stbench, run):
    genes = run.task.genes
    Path("sets.gmt").write_text("ALL\tx\t" + "\t".join(genes) + "\nNONE\tx\tABSENT\n")
    assert stbench(*RUN, "sets", "--gene-sets", "sets.gmt").code == 0
    record = read_record(Path("sets/training-mean"))
    assert (record.task, record.gene_sets.n_used, record.request["gene_sets"]) == (run.task, 1, "sets.gmt")
    assert "--gene-sets sets.gmt" in record.command
    ended = stbench("rescore", "mine", "--gene-sets", "sets.gmt")
    assert ended.code == 0, ended.err
    assert read_record(RECORD).metrics["gene-set-pcc"] == record.metrics["gene-set-pcc"]
    Path("sets.gmt").write_text("ALL\tx\tG1\nALL\tx\tG2\n")
    for words in (["run", *RUN[1:], "other", "--gene-sets", "sets.gmt"], ["rescore", "mine"]):
        ended = stbench(*words)
        assert ended.code == 2
        assert "gene sets" in ended.reason
    assert not Path("other").exists()


def test_a_panel_too_small_for_every_set_is_one_line(stbench):
    Path("sets.json").write_text('{"FEW": ["ABSENT"]}')
    ended = stbench(*RUN, "mine", "--gene-sets", "sets.json")
    assert ended.code == 0
    assert ended.err.count("expected one with 5 genes in the panel of 5, found none of 1 in sets.json") == 1
