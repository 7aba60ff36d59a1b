"""`stbench ablate`, on a tiny simulated cohort."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stbench.evaluation.record import read_record

from .conftest import TINY

METHOD = f"{Path(__file__).with_name('ablatable.py')}:Ablatable"
ABLATE = ["ablate", "--method", METHOD, *TINY, "--encoder", "mean-rgb", "--genes", "4", "--seeds", "0,1,2"]
FLAG = ["ablate", "--method", "flag", "--preset", "test", "--dry-run"]


def records(out):
    return {str(path.parent.relative_to(out)): path.stat().st_mtime_ns for path in Path(out).rglob("record.json")}


def the(out, suffix):
    (path,) = Path(out).glob(f"*{suffix}")
    return path


def section(text, table):
    return text.split(f"## Table {table}:")[1].split("\n## ")[0]


def lines_of(text, metric):
    """Cells of the lines under a metric, by row."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    start = next(place for place, row in enumerate(rows) if row[0].strip("*").startswith(metric))
    found = {}
    for row in rows[start + 1 :]:
        if row[0].startswith("**"):
            break
        found[row[0]] = row[1:]
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache):
    """An ablation carried out once: how it ended, and its folder."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("STBENCH_CACHE", str(cache))
    from stbench.cli.main import main

    out = tmp_path_factory.mktemp("ablation") / "mine"
    code = main([*ABLATE, "--out", str(out)])
    monkeypatch.undo()
    return code, out


def test_every_variant_is_run_once_and_a_failing_one_stops_no_other(done):
    code, out = done
    assert code == 1
    found = records(out)
    assert set(found) == {f"g4/seed{seed}/{run}" for seed in (0, 1, 2) for run in ("full", "scale=0.5", "broken=true")}
    failed = {name for name in found if read_record(out / name).status == "failed"}
    assert failed == {f"g4/seed{seed}/broken=true" for seed in (0, 1, 2)}
    text = the(out, ".md").read_text()
    pcc = lines_of(section(text, "A"), "PCC")
    assert pcc["broken"][:3] == ["0.1250", "-0.3750", "-"]
    assert "- broken: run `broken=true`; failed: ValueError: it is broken" in section(text, "A")
    assert "- vectors: refused: no vectors given; give --prior tiny=PATH" in section(text, "B")
    assert lines_of(section(text, "B"), "PCC")["vectors"][:2] == ["0.7500", "+0.2500"]


def test_the_page_says_whether_it_is_the_same_experiment(done):
    text = the(done[1], ".md").read_text()
    assert "Not the same experiment" not in section(text, "A")
    assert "Reported and measured (simulated data): simulated, genes 4, preset small" in section(text, "A")
    other = section(text, "B")
    assert "**Not the same experiment.** Reported: simulated, genes 200, preset small" in other
    assert "Measured (simulated data): simulated, genes 4, preset small" in other
    assert "Nothing was reported for these rows." in section(text, "C")
    assert "say nothing about tissue" in text


def test_differences_come_out_of_the_csv_too(done):
    """Paired by seed; the interval as benchmarks/sweep_differences.py computes it."""
    table = pd.read_csv(the(done[1], ".csv"))
    text = section(the(done[1], ".md").read_text(), "A")
    measured = table[(table.table == "A") & (table.what == "measured")]
    for place, way in ((2, "declared"), (6, "single draw")):
        chosen = measured[(measured.metric == "mse") & (measured.way == way)]
        by_seed = chosen.pivot_table(index="seed", columns="row", values="value")
        gaps = by_seed["half"] - by_seed["whole"]
        half = stats.t.ppf(0.975, 2) * gaps.std(ddof=1) / np.sqrt(3)
        mse = lines_of(text, "MSE")["half"]
        assert mse[place].split()[0] == f"{by_seed['half'].mean():.3f}"
        assert mse[place + 1].rstrip("*") == f"{gaps.mean():+.3f}"
        assert mse[place + 2] == f"{half:.3f}"
        assert mse[place + 1].endswith("*") == bool(stats.ttest_1samp(gaps, 0).pvalue < 0.05)
    said = table[(table.table == "A") & (table.row == "half") & (table.metric == "mse")]
    assert said[said.what == "reported difference"].value.tolist() == [0.5]
    assert said[said.what == "reported"][["dataset", "genes", "preset"]].values.tolist() == [["simulated", 4, "small"]]


def test_ssc_is_scored_again_from_stored_predictions(done):
    table = pd.read_csv(the(done[1], ".csv"))
    again = table[(table.table == "C") & (table.what == "measured") & (table.way == "declared")]
    eight, three = (again[again.row == f"k = {k}"].set_index(["seed", "slide"]).value for k in (8, 3))
    for (seed, slide), value in eight.items():
        known = read_record(done[1] / f"g4/seed{int(seed)}/full").metrics["ssc"].per_slide[slide]
        assert value == pytest.approx(known)
    assert (three - eight).abs().max() > 1e-6


def test_the_same_command_runs_nothing_but_what_failed(stbench, done):
    out = done[1]
    before, page = records(out), the(out, ".md").read_bytes()
    ended = stbench(*ABLATE, "--out", out)
    assert ended.code == 1
    assert "9 in all, 6 finished, 3 to run" in ended.out
    after = records(out)
    assert {name: after[name] for name in after if "broken" not in name} == {
        name: before[name] for name in before if "broken" not in name
    }
    assert "whole" in ended.out
    assert "Table A: parts" in ended.out
    assert the(out, ".md").read_bytes().split(b"## Seconds")[0] == page.split(b"## Seconds")[0]
    ended = stbench(*ABLATE, "--out", out, "--tables", "C")
    assert (ended.code, "3 in all, 3 finished, 0 to run" in ended.out, "Table A" in ended.out) == (0, True, False)
    assert records(out) == after


def test_the_reported_experiment_may_be_put_together_by_hand(stbench):
    """Vectors given by --set count as those of the condition; other settings by hand make another experiment."""
    Path("tiny.csv").write_text("gene,x\na,1\n")
    words = [*ABLATE[:-2], "--seeds", "0", "--tables", "D", "--prior", "tiny=tiny.csv", "--set", "source=file:tiny.csv"]
    assert stbench(*words, "--out", "same").code == 0
    assert "Not the same experiment" not in the("same", ".md").read_text()
    assert "split slide, scale log1p, source tiny. Whether" in the("same", ".md").read_text()
    stbench(*words, "--set", "scale=3", "--out", "other")
    assert "source tiny, scale=3 by hand. Put signs" in the("other", ".md").read_text()
    stbench(*words, "--normalize", "log2p1", "--out", "scaled")
    assert (
        "Measured (simulated data): simulated, genes 4, preset small, encoder mean-rgb, split slide, scale log2p1"
        in (the("scaled", ".md").read_text())
    )


def test_predictions_that_are_gone_leave_a_reason(stbench):
    words = [*ABLATE[:-2], "--seeds", "0", "--tables", "C", "--out", "mine"]
    assert stbench(*words).code == 0
    for path in Path("mine").rglob("*.h5ad"):
        path.unlink()
    assert stbench(*words).code == 1
    assert "; failed: expected a prediction of slide" in section(the("mine", ".md").read_text(), "C")


def test_a_folder_grows(stbench):
    few = [*ABLATE[:-2], "--simulate", "seed=3", "--out", "mine"]
    ended = stbench(*few, "--seeds", "0", "--tables", "C")
    assert (ended.code, "1 in all, 0 finished, 1 to run" in ended.out) == (0, True)
    Path("tiny.csv").write_text("gene,x\na,1\n")
    ended = stbench(*few, "--seeds", "0,1", "--tables", "B", "--prior", "tiny=tiny.csv")
    assert (ended.code, "4 in all, 1 finished, 3 to run" in ended.out) == (0, True)
    assert read_record(Path("mine/g4/seed1/source=tiny")).settings["source"] == "file:tiny.csv"
    text = the("mine", ".md").read_text()
    assert text.index("## Table B") < text.index("## Table C")
    assert "--tables B,C --seeds 0,1 --preset small --prior tiny=tiny.csv" in text
    ended = stbench(*few, "--seeds", "0,1", "--tables", "B")  # the vectors are not named, their runs are there
    assert "vectors: run source=tiny" in ended.out


def test_folders_of_something_else_are_refused(stbench):
    words = [*ABLATE[:-2], "--simulate", "seed=3", "--seeds", "0", "--tables", "C", "--out", "mine"]
    stbench(*words)
    said = "mine belongs to another ablation: "
    assert f"{said}setting scale 1.0 -> 2.0; choose another --out" in stbench(*words, "--set", "scale=2").reason
    assert f"{said}split_seed 0 -> 1" in stbench(*words, "--split-seed", "1").reason
    assert f"{said}genes [4] -> [5]" in stbench(*words, "--genes", "5").reason
    sweep = ["sweep-genes", *TINY, "--methods", "ridge", "--no-controls", "--out", "mine"]
    assert "expected an empty or new folder at mine, found ablation.json" in stbench(*sweep).reason


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tables", "2,3"], "--tables: expected tables of flag (2, 6, 7, 12, 13, 14), found '3'"),
        (["--tables", "2,2"], "--tables: expected 2 once"),
        (["--method", "ridge"], "expected one --method, found 2"),
        (["--seeds", "one"], "--seeds: expected whole numbers"),
        (["--seeds", "1,1"], "--seeds: expected 1 once"),
        (["--genes", "1"], "--genes: expected numbers from 2 up"),
        (["--jobs", "0"], "--jobs: expected at least 1 worker"),
        (["--preset", "papr"], "unknown preset 'papr'"),
        (["--set", "sigmaa=1"], "unknown setting of flag 'sigmaa'"),
        (["--prior", "geneformer"], "--prior: expected key=value, found 'geneformer'"),
        (["--prior", "genformer=x"], "unknown vectors of the ablations of flag 'genformer': did you mean geneformer?"),
        (["--prior", "geneformer=x"], "--prior geneformer: expected a file or folder of vectors at x, found none"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(stbench, tmp_path, words, said):
    assert said in stbench(*FLAG, *TINY, "--genes", "4", *words).reason
    assert list(tmp_path.iterdir()) == []


def test_a_method_without_ablations(stbench):
    assert "found none; methods with some: flag" in stbench("ablate", "--method", "ridge", "--dry-run").reason
    assert "unknown method 'flagg'" in stbench("ablate", "--method", "flagg", "--dry-run").reason
    assert "expected one --method, found 0" in stbench("ablate", "--dry-run").reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": "kidney"}, "expected vectors for dataset simulated, found kidney in v; write them with"),
        ({"genes": ["a", "b"]}, "expected vectors for genes 4, found 2"),
        ({"train": ["P09S1"]}, "expected vectors for training slides "),
        ({"train": None}, "expected what stbench prior wrote in v/prior.json"),
    ],
)
def test_vectors_of_another_task_are_refused(stbench, changes, said):
    dry = stbench(*FLAG, *TINY, "--genes", "4")
    held = dict(line.split(maxsplit=1) for line in dry.out.splitlines() if line.startswith(("validation", "test ")))
    train = sorted({"P01S1", "P02S1", "P03S1"} - set(held.values()))
    about = {"dataset": "simulated", "genes": list("abcde"), "train": train}
    Path("v").mkdir()
    Path("v/prior.json").write_text(json.dumps(about))
    words = [*FLAG, *TINY, "--genes", "4", "--tables", "6", "--prior", "scgpt=v"]
    ended = stbench(*words)
    assert "scGPT: run graph=false,prior=scgpt" in ended.out, ended.err
    Path("v/prior.json").write_text(json.dumps({**about, **changes}))
    assert said in stbench(*words).reason


def test_vectors_of_other_genes_fail_their_own_row(stbench):
    Path("v.csv").write_text("gene,x,y\nnobody,1,2\n")
    words = ["ablate", "--method", "flag", *TINY, "--preset", "test", "--set", "max_updates=1", "--set", "passes=1"]
    words += ["--genes", "4", "--tables", "6", "--seeds", "0", "--draws", "1", "--encoder", "mean-rgb"]
    ended = stbench(*words, "--prior", "geneformer=v.csv", "--out", "mine")
    assert ended.code == 1
    (line,) = [line for line in ended.out.splitlines() if line.startswith("g4/seed0/graph=false,prior=geneformer")]
    assert "expected rows for 4 panel genes" in line
    assert len(records("mine")) == 2
    assert "Measured (simulated data): simulated, genes 4, preset test" in the("mine", ".md").read_text()
