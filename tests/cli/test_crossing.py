"""`stbench run --test-dataset` and `--validation none`, from folders to pages."""

from pathlib import Path

import anndata
import numpy as np
import pytest

from stbench.evaluation.record import read_record

from ..data.layouts import counts, hest_adata, write_hest
from .conftest import TINY

GENES = ["A", "B", "C", "D", "E", "F"]


@pytest.fixture
def folders(tmp_path):
    """Four slides of two patients in one folder, two in another that lacks gene E."""
    for seed in range(4):
        write_hest(
            tmp_path / "ours", f"S{seed}", hest_adata(counts(seed, n_genes=6), GENES), patient=f"P{seed % 2}", seed=seed
        )
    for seed in (7, 8):
        adata = hest_adata(counts(seed, n_genes=5), ["F", "D", "C", "B", "A"])
        write_hest(tmp_path / "theirs", f"S{seed - 7}", adata, patient="P0", dataset_title="Another study")


CROSS = ["run", "--dataset", "./ours", "--test-dataset", "./theirs", "--encoder", "mean-rgb", "--genes", "6"]
QUICK = [*CROSS, "--method", "training-mean", "--no-controls"]


@pytest.fixture
def run(stbench, folders):
    ended = stbench(*QUICK)
    assert ended.code == 0, ended
    (folder,) = Path("runs").iterdir()
    return ended, folder


def test_what_was_run_is_said(run):
    ended, folder = run
    assert folder.name.startswith("ours-to-theirs-g6-slide-")
    assert "tests       theirs (2 slides); genes of the panel that it does not name are left out" in ended.out
    assert "panel: 1 of 6 genes left out, which theirs does not name" in ended.err + ended.out
    record = read_record(folder / "training-mean")
    assert (record.task.test_dataset, record.task.lacking, record.task.n_genes) == ("theirs", ["E"], 5)
    assert record.task.test == ["theirs-S0", "theirs-S1"]
    assert record.request["test_dataset"] == "./theirs"
    assert "--test-dataset ./theirs" in record.command


def test_stored_predictions_find_their_truth(stbench, run):
    _, folder = run
    before = read_record(folder / "training-mean")
    ended = stbench("rescore", folder)
    assert (ended.code, read_record(folder / "training-mean").metrics) == (0, before.metrics)
    assert stbench("export", folder / "training-mean", "out", "--with-truth").code == 0
    found = anndata.read_h5ad("out/theirs-S0.h5ad")
    own = hest_adata(counts(7, n_genes=5), ["F", "D", "C", "B", "A"])[:, found.var_names]
    np.testing.assert_allclose(found.layers["truth"], np.log1p(own.X.toarray()), rtol=1e-6)
    assert found.uns["stbench"]["dataset"] == "ours-to-theirs"


def test_a_page_says_it_on_its_head(stbench, run):
    ended = stbench("leaderboard", run[1], "--rescore")
    page = Path(ended.out.splitlines()[-1]).read_text()
    assert page.startswith("## ours-to-theirs, slide, 5 genes\n")
    assert "- panel: 5 genes, chosen on the training slides; 1 of 6 left out, which theirs does not name\n" in page
    assert "no test slide shares a patient with training" in page


def test_the_same_command_continues_and_another_cohort_is_another_run(stbench, run, tmp_path):
    assert "1 finished, 0 to run" in stbench(*QUICK).out
    (tmp_path / "theirs").rename(tmp_path / "others")
    asked = ["./others" if word == "./theirs" else word for word in QUICK]
    reason = stbench(*asked, "--out", run[1]).reason
    assert "belongs to another run" in reason
    assert "test_dataset './theirs' -> './others'" in reason


def test_a_sweep_loses_genes_of_each_panel(stbench, folders):
    words = ["sweep-genes", *CROSS[1:-1], "3,6", "--methods", "training-mean", "--no-controls", "--out", "sweep"]
    ended = stbench(*words)
    assert ended.code == 0, ended
    sizes = [read_record(Path(f"sweep/g{g}/seed0/training-mean")).task for g in (3, 6)]
    assert [task.n_genes + len(task.lacking) for task in sizes] == [3, 6]


def test_a_simulated_cohort_tests_a_simulated_one(stbench):
    export = ["datasets", "export", "simulated"]
    for name, seed in (("same", "0"), ("theirs", "1")):
        assert stbench(*export, name, *TINY, "--simulate", f"seed={seed}").code == 0
    words = ["run", *TINY, "--encoder", "mean-rgb", "--genes", "5", "--method", "training-mean", "--no-controls"]
    assert stbench(*words, "--test-dataset", "./theirs", "--out", "a").code == 0
    assert read_record(Path("a/training-mean")).task.simulated
    refused = stbench(*words, "--test-dataset", "./same", "--out", "b")
    assert refused.code == 2
    assert "expected a section of its own, found the counts of" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--split", "lopo"], "--split lopo: expected slide or patient with --test-dataset"),
        (["--test-dataset", "ours"], "expected another cohort than --dataset"),
        (["--test-dataset", "simulatd"], "unknown dataset 'simulatd': did you mean simulated?"),
        (["--test-dataset", "simulated"], "expected real data as of ours, found simulated data"),
        (["--validation", "nobody"], "unknown --validation 'nobody': known: none, split"),
        (["--validation", "non"], "did you mean none?"),
    ],
)
def test_a_mistake_is_one_line(stbench, folders, words, said):
    assert said in stbench(*QUICK, *words).reason
    assert not Path("runs").exists()


def test_folds_without_validation(stbench):
    words = ["run", *TINY, "--encoder", "mean-rgb", "--genes", "5", "--no-controls", "--split", "lopo"]
    asked = [*words, "--validation", "none", "--method", "ridge", "--method", "training-mean", "--out", "a"]
    ended = stbench(*asked)
    assert ended.code == 1
    assert "chooses alpha on validation slides, found none" in ended.out + ended.err
    assert stbench(*asked[:-1], "b", "--set", "ridge.alpha=10").code == 0
    tasks = [read_record(path).task for path in sorted(Path("b").glob("lopo-*/log1p/ridge-seed0/record.json"))]
    assert [(len(task.train), task.validation, len(task.test)) for task in tasks] == [(2, [], 1)] * 3
    assert len({task.protocol_hash for task in tasks}) == 1
    assert "lopo, seed 0: 3 folds, no validation\n" in stbench(*asked, "--dry-run").out
    page = Path(stbench("leaderboard", "b").out.splitlines()[-1]).read_text()
    assert "- validation: none, its slides train\n" in page


def test_rows_with_and_without_validation_are_no_rows_of_one_table(stbench):
    words = ["run", *TINY, "--encoder", "mean-rgb", "--genes", "5", "--no-controls", "--method", "training-mean"]
    for out, more in (("a", []), ("b", ["--validation", "none"])):
        assert stbench(*words, "--split", "lopo", *more, "--out", out).code == 0
    ended = stbench("leaderboard", "a", "b")
    assert len([line for line in ended.out.splitlines() if line.endswith(".md")]) == 2
