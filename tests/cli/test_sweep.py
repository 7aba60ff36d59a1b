"""`stbench sweep-genes`, on a tiny simulated cohort."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stbench.evaluation.record import read_record

from .conftest import TINY

METHODS = Path(__file__).with_name("methods.py")
SWEEP = ["sweep-genes", *TINY, "--encoder", "mean-rgb", "--genes", "4,6"]
RIDGE = ["sweep-genes", "--methods", "ridge", "--dry-run"]


def records(out):
    return {str(path.parent.relative_to(out)): read_record(path) for path in sorted(Path(out).rglob("record.json"))}


def numbers(out):
    """What may not depend on where and when a cell was run."""
    return {name: (one.task, one.metrics, one.settings, one.seed, one.command) for name, one in records(out).items()}


def untouched(out):
    return {path: path.stat().st_mtime_ns for path in Path(out).rglob("record.json")}


def suffixes(out):
    return sorted(path.suffix for path in Path(out).glob("simulated-genes-slide-*"))


def test_from_names_to_curves(stbench):
    words = [*SWEEP, "--methods", "ridge", "--variant", "ridge-stiff=ridge,alpha=9", "--seeds", "0,1", "--out", "mine"]
    ended = stbench(*words)
    assert ended.code == 0, ended.err
    found = records("mine")
    curves = {f"g{g}/seed{s}/{name}" for g in (4, 6) for s in (0, 1) for name in ("ridge", "ridge-stiff")}
    controls = {f"g{g}/seed0/random-spot" for g in (4, 6)}
    ceilings = {f"g{g}/ceilings/best-from-image" for g in (4, 6)}
    assert curves | controls | ceilings <= set(found)
    assert "g4/seed1/random-spot" not in found
    assert found["g4/seed1/ridge-stiff"].settings["alpha"] == 9.0
    assert "--genes 4 " in found["g4/seed1/ridge-stiff"].command
    assert "--set alpha=9" in found["g4/seed1/ridge-stiff"].command
    assert suffixes("mine") == [".csv", ".md", ".png", ".svg"]
    assert any(line.startswith("ridge-stiff  ") and "2/2" in line for line in ended.out.splitlines())


def test_the_same_command_continues(stbench):
    words = [*SWEEP, "--methods", "ridge", "--no-controls", "--out", "mine"]
    stbench(*words, "--seeds", "0")
    before = untouched("mine")
    Path("mine/g4/seed0/ridge/record.json").unlink()
    ended = stbench(*words, "--seeds", "0,1")
    assert "4 in all, 1 finished, 3 to run, 1 at a time" in ended.out
    after = untouched("mine")
    kept = Path("mine/g6/seed0/ridge/record.json")
    assert after[kept] == before[kept]
    assert len(after) == 4
    pages = [path.read_bytes() for path in sorted(Path("mine").glob("simulated-genes-*"))]
    again = stbench(*words, "--seeds", "1")
    assert "2 in all, 2 finished, 0 to run" in again.out
    assert untouched("mine") == after
    assert [path.read_bytes() for path in sorted(Path("mine").glob("simulated-genes-*"))] == pages


def test_the_folder_of_a_command_is_its_own(stbench):
    words = [*SWEEP, "--methods", "ridge", "--no-controls"]
    stbench(*words)
    (first,) = Path("runs").iterdir()
    assert "2 finished, 0 to run" in stbench(*words).out
    assert "0 finished, 2 to run" in stbench(*words, "--split-seed", "1", "--dry-run").out
    assert list(Path("runs").iterdir()) == [first]


def test_a_panel_too_large_fails_alone(stbench):
    words = [*SWEEP, "--methods", "ridge,training-mean", "--no-controls", "--out", "mine", "--genes", "4,31"]
    ended = stbench(*words)
    assert ended.code == 1
    assert {name.split("/")[0] for name in records("mine")} == {"g4"}
    (line,) = [line for line in ended.out.splitlines() if "failed: expected at most" in line]
    assert line.startswith("g31/seed0/ridge, ")
    (page,) = Path("mine").glob("*.md")
    assert "- failed: expected at most" in page.read_text()
    assert stbench(*words, "--genes", "4").code == 0


def test_methods_that_fail_or_refuse_are_tried_again_or_not(stbench):
    methods = ",".join(f"{METHODS}:{name}" for name in ("Works", "Fails", "Refuses"))
    words = [*SWEEP, "--methods", methods, "--no-controls", "--out", "mine"]
    ended = stbench(*words)
    assert ended.code == 1
    assert "g6/seed0/fails, g4/seed0/fails: failed: ValueError: three is no number" in ended.out
    assert "refused: there are too few slides" in ended.out
    again = stbench(*words)
    assert again.code == 1
    assert "6 in all, 4 finished, 2 to run" in again.out


def test_workers_find_what_one_process_finds(stbench):
    methods = f"ridge,{METHODS}:Works,{METHODS}:Dies,random-spot"
    size = ["--genes", "4", "--seeds", "0,1", "--no-controls"]
    words = [*SWEEP, "--methods", methods, *size]
    rest = ["--methods", f"ridge,{METHODS}:Works,random-spot"]
    assert stbench(*SWEEP, *rest, *size, "--out", "alone").code == 0
    ended = stbench(*words, "--jobs", "2", "--out", "two")
    assert ended.code == 1
    done = {name: one for name, one in numbers("two").items() if not name.endswith("/dies")}
    assert done == numbers("alone"), ended.err
    died = "failed: its worker process was ended by SIGKILL, as the system does when memory runs out"
    assert len([line for line in ended.err.splitlines() if f"/dies: {died}" in line]) == 2
    assert read_record(Path("two/g4/seed1/dies")).reason == died.removeprefix("failed: ")
    assert ended.out.count(died) == 1  # two cells of one reason on one line
    assert list(Path("two").glob("worker-*.log")) == []


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path, cache, how):
    """Ctrl-C goes to the whole group, as from a terminal; a kill to the parent alone."""
    psutil = pytest.importorskip("psutil")
    words = [*SWEEP, "--methods", f"{METHODS}:Sleeps", "--no-controls", "--jobs", "2", "--out", "mine"]
    environment = {**os.environ, "STBENCH_CACHE": str(cache), "STBENCH_TEST_SLEEP": str(tmp_path / "asleep")}
    parent = subprocess.Popen(
        [sys.executable, "-m", "stbench", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    while not (tmp_path / "asleep").exists():
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert len(workers) >= 2
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)
    else:
        parent.kill()
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in err
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert not list((tmp_path / "mine").rglob("record.json"))
    if how == signal.SIGINT:
        assert err.splitlines()[-1] == "stbench: interrupted; the same command with --out mine continues"
        assert suffixes(tmp_path / "mine") == [".csv", ".md"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "rigde"], "unknown method 'rigde': did you mean ridge"),
        (["--methods", "ridge"], "--methods: expected ridge once, found it 2 times"),
        (["--genes", "1,10"], "--genes: expected numbers from 2 up (a correlation needs two genes), found 1"),
        (["--genes", "ten"], "--genes: expected whole numbers such as 10,50,200, found 'ten'"),
        (["--seeds", ""], "--seeds: expected whole numbers"),
        (["--jobs", "0"], "--jobs: expected at least 1 worker, found 0"),
        (["--variant", "ridge=ridge,alpha=1"], "expected a name that no method, control, ceiling or other variant has"),
        (["--variant", "total-counts=ridge,alpha=1"], "expected a name that no method"),
        (["--variant", "ceilings=ridge,alpha=1"], "expected a name that no method"),
        (["--variant", "a=ridge,alpha=1", "--variant", "a=ridge,alpha=2"], "expected a name that no method"),
        (["--variant", "a=ridge,alfa=1"], "unknown setting of ridge 'alfa': did you mean alpha?"),
        (["--variant", "a=rigde,alpha=1"], "unknown method 'rigde'"),
        (["--set", "alpha=-1"], "setting of ridge: alpha: Input should be greater than 0"),
        (["--dataset", "simulatd"], "unknown dataset 'simulatd'"),
        (["--split", "slid"], "unknown split 'slid'"),
        (["--preset", "papr"], "unknown preset 'papr'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(stbench, tmp_path, words, said):
    assert said in stbench(*RIDGE, *words).reason
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_run(stbench):
    said = stbench("sweep-genes", "--methods", "", "--dry-run").reason
    assert "--methods: expected at least one method or a --variant" in said


def test_a_foreign_folder_is_refused(stbench):
    words = [*SWEEP, "--methods", "ridge", "--no-controls", "--genes", "4", "--out", "mine"]
    stbench(*words)
    assert (
        "mine belongs to another sweep: split_seed 0 -> 1; choose another" in stbench(*words, "--split-seed", 1).reason
    )
    assert "ridge: setting alpha None -> 2.0; choose" in stbench(*words, "--set", "alpha=2").reason
    Path("other").mkdir()
    Path("other/notes.txt").write_text("")
    assert "expected an empty or new folder at other, found notes.txt" in stbench(*words, "--out", "other").reason


def test_a_variant_inherits_what_its_method_was_given(stbench):
    words = ["--set", "alpha=3", "--set", "clip=4", "--variant", "own=ridge,alpha=5", "--out", "mine"]
    stbench(*SWEEP, "--methods", "ridge", "--no-controls", "--genes", "4", *words)
    found = records("mine")
    settings = {name: (one.settings["alpha"], one.settings["clip"]) for name, one in found.items()}
    assert settings == {"g4/seed0/ridge": (3.0, 4.0), "g4/seed0/own": (5.0, 4.0)}


def test_variants_alone(stbench):
    ended = stbench("sweep-genes", "--methods", "", "--variant", "own=ridge,alpha=5", "--dry-run")
    assert ended.code == 0
    lines = [line.split(maxsplit=1) for line in ended.out.splitlines()]
    assert ["curve", "own (ridge); alpha=5.0"] in lines
    (controls,) = [text for name, text in lines if name == "controls"]
    assert "ridge, " in controls


def test_all_folds_of_a_rule_lie_in_one_folder(stbench):
    words = [*SWEEP, "--methods", "ridge,ridge-slide,random-spot", "--no-controls", "--split", "lopo", "--out", "mine"]
    ended = stbench(*words)
    assert ended.code == 0, ended.err
    found, folds = records("mine"), [f"lopo-P0{patient}" for patient in (1, 2, 3)]
    assert {f"{fold}/g{genes}/seed0/ridge-slide" for fold in folds for genes in (4, 6)} <= set(found)
    assert "--split lopo-P02 " in found["lopo-P02/g6/seed0/ridge"].command
    (page,) = Path("mine").glob("simulated-genes-lopo-*.md")
    assert "From 4 to 6 genes, whether PCC falls beyond `ridge-slide` cannot be said from 3" in page.read_text()
    assert "0 to run" in stbench(*words).out


def test_an_ablation_takes_one_fold(stbench):
    assert "--split: expected one fold, found 3" in stbench("ablate", "--method", "flag", "--split", "kfold-3").reason
