"""`stbench claims`, on simulated slides under the ids of a cohort of the paper."""

import csv
import shutil
from pathlib import Path

import pytest

from stbench.catalogue import find_dataset, find_paper
from stbench.data.export import export_hest
from stbench.data.simulator import SimulationSettings, open_simulated
from stbench.data.stand_in import stand_in_for

SIZE = {"n_patients": 4, "sections_per_patient": 1, "n_spots": 16, "n_genes": 210, "um_per_px": 4.0}
ONE = ["claims", "2605.18055", "--table", "1"]
CHEAP = ["--preset", "test", "--encoder", "mean-rgb", "--draws", "2", "--no-controls", "--out", "C"]
BENCH = ["claims", "hest-benchmark", "--table", "ridge", "--no-controls", "--out", "H"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data root with stand-ins for KIDNEY and PRAD."""
    root = tmp_path_factory.mktemp("data")
    made = open_simulated(SimulationSettings(**SIZE), tmp_path_factory.mktemp("cache"))
    for name in ("kidney", "prad"):
        export_hest(stand_in_for(find_dataset(name), made), root / name, patch_px=28, um_per_px=4.0)
    return root


@pytest.fixture(scope="module")
def kidney(data, tmp_path_factory):
    """A data root with the stand-in for KIDNEY alone."""
    root = tmp_path_factory.mktemp("kidney")
    shutil.copytree(data / "kidney", root / "kidney")
    return root


def lines(path):
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


def untouched(out):
    return {path: path.stat().st_mtime_ns for path in Path(out).rglob("record.json")}


def test_a_table_is_run_as_far_as_there_are_data_and_continued(stbench, kidney):
    ended = stbench(*ONE, *CHEAP, "--data-root", kidney, "--method", "bleep")
    assert ended.code == 0, ended.err
    rows = lines("C/2605.18055-table-1.csv")
    assert len(rows) == 12
    there = [row for row in rows if row["value"]]
    assert [(row["dataset"], row["metric"]) for row in there] == [("kidney", m) for m in ("pcc", "mse", "gsc", "ssc")]
    assert {row["same_protocol"] for row in there} == {"no"}
    assert {row["difference"] for row in rows} == {""}  # of other slides
    assert {row["same_protocol"] for row in rows if not row["value"]} == {"not run"}
    for said in ("a stand-in: simulated slides", "encoder mean-rgb for uni", "preset test for paper", "not published"):
        assert all(said in row["reasons"] for row in there)
    page = Path("C/2605.18055-table-1.md").read_text(encoding="utf-8")
    assert "**Stand-in for kidney: simulated slides." in page
    assert "4 of 12 reported numbers with one of ours beside" in page
    for name in ("her2st", "prad"):
        assert f"stbench datasets fetch {name} --source hest --data-root {kidney}" in page
    before = untouched("C")
    again = stbench(*ONE, *CHEAP, "--data-root", kidney, "--method", "bleep")
    assert (again.code, "1 in all, 1 finished, 0 to run" in again.out) == (0, True)
    assert untouched("C") == before
    assert Path("C/2605.18055-table-1.md").read_text(encoding="utf-8") == page
    other = stbench(*ONE, *CHEAP, "--data-root", kidney, "--method", "bleep", "--set", "bleep.k=3")
    assert "belongs to another run: bleep: setting k 4 -> 3; choose another --out" in other.reason
    inside = next(path.parent for path in Path("C").glob("*/grid.json"))
    assert "found grid.json; choose another --out" in stbench(*ONE, "--data-root", kidney, "--out", inside).reason


@pytest.mark.slow
def test_every_cell_of_a_cohort_is_written(stbench, kidney):
    assert stbench(*ONE, *CHEAP, "--data-root", kidney).code == 0
    rows = lines("C/2605.18055-table-1.csv")
    assert (len(rows), sum(bool(row["value"]) for row in rows)) == (72, 24)
    assert {row["dataset"] for row in rows if row["value"]} == {"kidney"}
    assert stbench(*ONE[:2], *CHEAP, "--table", "7,10", "--dataset", "kidney", "--data-root", kidney).code == 0
    assert all(row["value"] for row in lines("C/2605.18055-table-7.csv"))
    cost = {row["metric"]: row for row in lines("C/2605.18055-table-10.csv")}
    assert (cost["spots"]["same_protocol"], cost["peak-memory-gb"]["reasons"]) == ("not measured", "not run on a GPU")
    assert float(cost["inference-time-s"]["value"]) > 0


def test_what_it_would_take_is_said_without_a_trace(stbench, kidney, tmp_path):
    ended = stbench(*ONE, *CHEAP, "--data-root", kidney, "--method", "bleep", "--dry-run")
    assert ended.code == 0
    assert "1 in all, 0 finished, 1 to run" in ended.out
    assert "estimate" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_a_benchmark_of_encoders(stbench, data):
    """Pooled over the spots of a test patient, mean over folds; no other encoder takes the place of a row's own."""
    lacking = stbench(*BENCH, "--data-root", data).reason
    assert "weights of uni: give --weights uni=PATH" in lacking
    assert "no encoder phikon is registered here" in lacking
    assert stbench(*BENCH, "--data-root", data, "--encoder", "mean-rgb").code == 0
    rows = lines("H/hest-benchmark-table-ridge.csv")
    assert [row["encoder"] for row in rows] == [claim.encoder for claim in find_paper("hest-benchmark").claims()][:8]
    assert len({row["value"] for row in rows}) == 1
    assert all(f"encoder mean-rgb for {row['encoder']}" in row["reasons"] for row in rows)
    assert all("PCA 256" in row["reasons"] and row["sd_slides"] == "" for row in rows)
    assert len([*Path("H").rglob("record.json")]) == 2


def test_papers_and_their_tables_are_listed(stbench, kidney):
    listed = stbench("claims").out
    assert all(name in listed for name in ("2605.18055", "hest-benchmark", "261"))
    tables = stbench("claims", "2605.18055", "--data-root", kidney).out
    rows = {line.split()[0]: line for line in tables.splitlines()[2:]}
    assert sorted(rows, key=int) == [str(number) for number in range(1, 16)]
    assert "no slides of her2st, prad" in rows["1"]
    assert f"stbench claims 2605.18055 --table 1 --data-root {kidney}" in rows["1"]
    assert "slides are there" in rows["8"]
    assert "facts, shown by stbench methods show flag" in rows["5"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["2605.1805"], "unknown paper '2605.1805': did you mean 2605.18055?"),
        (["2605.18055", "--table", "16"], "--table: expected tables of 2605.18055 (1, 2, 3, 4, 5"),
        (["2605.18055", "--table", "1,1"], "--table: expected 1 once"),
        (
            ["2605.18055", "--table", "5"],
            "found one of facts (hyper-parameters of FLAG); see: stbench methods show flag",
        ),
        (["2605.18055", "--table", "4"], "see: stbench datasets list"),
        (["2605.18055", "--table", "1"], "get them with stbench datasets fetch kidney --source hest --data-root DIR"),
        (["2605.18055", "--table", "1", "--data-root", "gone"], "no slides of prad in gone; get them with stbench"),
        (["2605.18055", "--table", "1", "--dataset", "mars"], "--dataset: expected one of the tables' (her2st, kidney"),
        (["2605.18055", "--table", "1", "--method", "ridge"], "--method: expected one of the tables' (bleep, flag"),
        (["2605.18055", "--table", "1", "--weights", "uni"], "--weights: expected key=value, found 'uni'"),
        (["2605.18055", "--table", "1", "--prior", "geneformer=x"], "expected a file or folder of vectors at x"),
        (["2605.18055", "--table", "1", "--jobs", "0"], "--jobs: expected at least 1 worker"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(stbench, tmp_path, words, said):
    assert said in stbench("claims", *words).reason
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_one_cohort_says_which(stbench, kidney):
    reason = stbench(*ONE, "--data-root", kidney, "--preset", "papr").reason
    assert "kidney: unknown preset 'papr': did you mean paper?" in reason
    assert "no slides of her2st" in reason
