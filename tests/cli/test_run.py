"""`stbench run` and `stbench leaderboard`, on a tiny simulated cohort."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stbench.catalogue import usual_controls
from stbench.evaluation.record import read_record
from stbench.evaluation.request import Request

from .conftest import TINY

METHODS = Path(__file__).with_name("methods.py")
SMALL = [*TINY, "--encoder", "mean-rgb", "--genes", "5"]


def lines_of(out):
    """The aligned lines at the start as a dictionary."""
    return dict(line.split(maxsplit=1) for line in out.split("\n\n")[0].splitlines())


def test_from_names_to_a_leaderboard(stbench):
    ended = stbench("run", "--method", "ridge", *SMALL, "--out", "mine", "--set", "alpha=2.5", "--draws", "2")
    assert ended.code == 0, ended.err
    said = lines_of(ended.out)
    assert said["method"] == "ridge; alpha=2.5"
    assert said["split"] == "slide, seed 0: train 1, validation 1, test 1"
    assert said["leak"] == "0% of test slides share a patient with training"
    ceilings = {"best-from-image", "best-from-truth"}
    assert {path.parent.name for path in Path("mine").glob("*/record.json")} == {
        "ridge",
        *ceilings,
        *(card.name for card in usual_controls("simulated")),
    }
    for row in (*ceilings, "ridge (alpha=2.5)", "random-spot, mean of 2", "random-spot, 1 draw", "[total-counts]"):
        assert any(line.startswith(f"{row} ") for line in ended.out.splitlines()), row
    assert "PCC ↑" in ended.out
    assert "MSE ↓" in ended.out
    assert ended.out.splitlines()[-1] == "records: mine"

    record = read_record(Path("mine/ridge"))
    assert record.settings["alpha"] == 2.5
    assert record.command.startswith("stbench run --method ridge --dataset simulated --genes 5 ")
    assert "mine" not in record.command

    written = stbench("leaderboard", "mine", "--out", "boards", "--metric", "mse")
    assert written.code == 0
    text = Path(written.out.splitlines()[-1]).read_text()
    assert record.command in text
    assert "MSE ↓" in text
    assert "PCC ↑" not in text
    head, *rows, _, path = written.out.split("\n", 1)[1].splitlines()
    assert head.split() == ["row", "MSE", "↓"]
    assert {"ridge (alpha=2.5)", "[total-counts]"} <= {row.split("  ")[0] for row in rows}
    assert sorted(found.name for found in Path("boards").iterdir()) == sorted(
        [Path(path).name, Path(path).stem + ".records.jsonl.xz"]
    )
    written = stbench("leaderboard", "mine", "--out", "boards", "--metric", "pcc-draw-sd")
    assert "PCC, sd over draws" in Path(written.out.splitlines()[-1]).read_text()
    assert "unknown metric 'pc-draw'" in stbench("leaderboard", "mine", "--metric", "pc-draw").reason


def test_a_command_says_every_choice(stbench, monkeypatch):
    request = Request(
        methods=("ridge", "some where.py:M"),
        dataset="her2st",
        genes=(200,),
        split="a b.json",
        split_seed=1,
        test_dataset="some/slides",
        patients=Path("p.csv"),
        genes_table=Path("g.csv"),
        gene_sets=Path("s.gmt"),
        validation_rule="none",
        seeds=(2, 5),
        draws=3,
        draws_kept="2",
        encoder="timm:vit",
        weights=Path("w.safetensors"),
        patch="112um",
        normalization=("log2p1", "log1p"),
        preset="small",
        overrides=("k=3", "ridge.alpha=1"),
        tuned=Path("study"),
        simulate=("paper", "seed=1"),
        secret=Path("FILE"),
        controls=False,
    )
    unsaid = {"data_root", "device"}
    assert {name for name in Request.options() if getattr(request, name) == Request.usual(name)} == unsaid
    understood = []
    monkeypatch.setattr("stbench.evaluation.plan.plan", lambda asked, *_: understood.append(asked) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stbench(*shlex.split(request.command())[1:])
    assert understood == [request]


def test_the_record_repeats_the_run(stbench):
    stbench("run", "--method", "training-mean", "--no-controls", *SMALL, "--seed", "3", "--out", "a")
    first = read_record(Path("a/training-mean"))
    ended = stbench(*shlex.split(first.command)[1:], "--out", "b")
    assert ended.code == 0
    again = read_record(Path("b/training-mean"))
    assert (again.task, again.metrics, again.command) == (first.task, first.metrics, first.command)


def test_dry_run_writes_nothing(stbench, tmp_path):
    ended = stbench("run", "--method", "ridge", *SMALL, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert lines_of(ended.out)["out"].startswith("runs/simulated-g5-slide-seed0-")
    assert "ridge: seconds; about " in ended.out
    assert list(tmp_path.iterdir()) == []


def test_a_seed_leaves_the_task_alone_and_a_split_seed_does_not(stbench):
    plain, other, split = (
        lines_of(stbench("run", "--method", "ridge", "--dry-run", *words).out)["test"]
        for words in ([], ["--seed", "5"], ["--split-seed", "5"])
    )
    assert plain == other
    assert plain != split


def test_a_split_file(stbench, tmp_path):
    parts = {"train": ["P01S1", "P01S2"], "validation": ["P02S1"], "test": ["P01S3", "P03S1"]}
    (tmp_path / "mine.json").write_text(json.dumps(parts))
    said = lines_of(stbench("run", "--method", "ridge", "--dry-run", "--split", "mine.json").out)
    assert said["test"] == "P01S3, P03S1"
    assert said["leak"] == "50% of test slides share a patient with training"
    assert said["left"].endswith("P04S3: not named by the split")


def test_a_file_method_that_fails_is_a_row(stbench):
    ended = stbench("run", "--method", f"{METHODS}:Fails", "--method", f"{METHODS}:Works", *SMALL, "--out", "mine")
    assert ended.code == 1
    assert "\nfails: failed: ValueError: three is no number" in ended.out
    assert any(line.startswith("works  ") for line in ended.out.splitlines())
    assert read_record(Path("mine/fails")).status == "failed"
    assert read_record(Path("mine/ridge")).status == "done"


def test_a_method_that_refuses(stbench):
    ended = stbench("run", "--method", f"{METHODS}:Refuses", "--no-controls", *SMALL, "--out", "mine")
    assert ended.code == 1
    assert "refuses: refused: there are too few slides" in ended.out


def test_an_interrupted_run_goes_on(stbench, tmp_path, cache):
    words = ["run", "--method", f"{METHODS}:Sleeps", "--method", f"{METHODS}:Works", "--no-controls", *SMALL]
    words += ["--out", "mine"]
    environment = {**os.environ, "STBENCH_CACHE": str(cache), "STBENCH_TEST_SLEEP": str(tmp_path / "asleep")}
    parent = subprocess.Popen(
        [sys.executable, "-m", "stbench", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    while not (tmp_path / "asleep").exists():
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.05)
    assert "another process is at work in mine" in stbench(*words).err
    parent.send_signal(signal.SIGINT)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert err.splitlines()[-1] == "stbench: interrupted; the same command with --out mine continues"
    assert not Path("mine/sleeps/record.json").exists()
    ended = stbench(*words, "--resume")
    assert ended.code == 0, ended.err
    before = Path("mine/sleeps/record.json").stat().st_mtime_ns
    assert "2 in all, 2 finished, 0 to run" in stbench(*words).out
    assert Path("mine/sleeps/record.json").stat().st_mtime_ns == before
    assert "mine belongs to another run: seeds [0] -> [1]; choose" in stbench(*words, "--seed", "1").reason
    assert "mine belongs to another run: genes [5] -> [4]; choose" in stbench(*words, "--genes", "4").reason


@pytest.mark.parametrize("name", ["Exits", "Stops"])
def test_a_method_cannot_end_the_harness(stbench, name):
    ended = stbench("run", "--method", f"{METHODS}:{name}", "--no-controls", *SMALL, "--out", "mine")
    assert ended.code == 1
    assert read_record(Path("mine") / name.lower()).reason in ("SystemExit: 3", "KeyboardInterrupt")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(4)", "found SystemExit: 4; mend it"),
        ("raise ValueError", "found ValueError; mend it"),
        ("import not_there_at_all", "found ModuleNotFoundError: No module named 'not_there_at_all'; mend it"),
        ("M = = 3", "found SyntaxError: invalid syntax"),
        ("from stbench.methods.base import Method\nclass M(Method): card = 3", "expected a dictionary, found int"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line(stbench, code, said):
    Path("mine.py").write_text(code)
    assert said in stbench("run", "--method", "mine.py:M", *SMALL, "--dry-run").reason
    assert "no file other.py; check the part" in stbench("run", "--method", "other.py:M", *SMALL, "--dry-run").reason


def test_seeds_scales_and_folds_are_cells(stbench):
    words = ["run", "--method", "ridge", *SMALL, "--out", "mine", "--no-controls"]
    several = ["--seeds", "0,1", "--split", "lopo", "--normalize", "log1p", "--normalize", "log2p1"]
    ended = stbench(*words, *several, "--jobs", "2")
    assert ended.code == 0, ended.err
    found = {str(path.parent.relative_to("mine")) for path in Path("mine").rglob("record.json")}
    assert found == {
        f"lopo-{patient}/{scale}/ridge-seed{seed}"
        for patient in ("P01", "P02", "P03")
        for scale in ("log1p", "log2p1")
        for seed in (0, 1)
    }
    one = read_record(Path("mine/lopo-P02/log2p1/ridge-seed1"))
    assert (one.task.protocol, one.seed, one.request["split"]) == ("lopo-P02", 1, "lopo")
    assert "data_root" not in one.request
    assert "Nothing is ranked here: the seed of the cohort is public" in ended.out
    text = Path(stbench("leaderboard", "mine", "--out", "b").out.splitlines()[-1]).read_text()
    assert text.startswith("## simulated, lopo, 5 genes\n")
    assert "PCC log2p1 ↑" in text
    assert text.count("stbench run ") == 1
    assert len(list(Path("b").iterdir())) == 2
    grown = stbench(*words, *several, "--seeds", "0,1,2")
    assert "18 in all, 12 finished, 6 to run" in grown.out


def test_a_network_is_loaded_once_and_not_by_a_dry_run(stbench, monkeypatch):
    from safetensors.torch import save_file

    from stbench.features import timm_encoder

    timm = timm_encoder.import_timm()
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), "w.safetensors")
    loads, read = [], timm_encoder.read_state
    monkeypatch.setattr(timm_encoder, "read_state", lambda file: loads.append(file) or read(file))
    words = ["run", "--method", "ridge", *TINY, "--genes", "5", "--encoder", "timm:test_vit", "--no-controls"]
    words += ["--weights", "w.safetensors", "--simulate", "seed=5", "--out", "mine"]
    assert stbench(*words, "--dry-run").code == 0
    assert loads == []
    ended = stbench(*words)
    assert ended.code == 0, ended.err
    assert len(loads) == 1
    assert stbench(*words, "--seeds", "0", "--set", "alpha=3", "--out", "other").code == 0  # features lie in the cache
    assert len(loads) == 1


def test_an_estimate_counts_every_cell_of_a_method(stbench):
    words = ["sweep-genes", "--methods", "flag", "--variant", "own=flag,hidden_dim=16", "--preset", "test", *TINY]
    ended = stbench(*words, "--genes", "4,6", "--seeds", "0,1", "--encoder", "mean-rgb", "--dry-run")
    (line,) = [line for line in ended.out.splitlines() if line.split()[:3] == ["estimate", "flag:", "about"]]
    assert " each, 8 cells; about " in line


def test_options_without_effect_are_named(stbench):
    words = ["run", "--method", "ridge", "--method", "flag", *SMALL, "--dry-run", "--preset", "test", "--draws", "3"]
    notes = [line.split(maxsplit=1)[1] for line in stbench(*words).out.splitlines() if line.startswith("note ")]
    assert notes == ["--draws 3 changes nothing for ridge: one prediction"]
    words = ["run", "--method", "bleep", *SMALL, "--dry-run", "--preset", "fast"]
    notes = [line for line in stbench(*words).out.splitlines() if line.startswith("note ")]
    assert notes[0].endswith("--preset fast changes nothing for bleep: no such preset, its defaults")


def test_options_from_a_file(stbench):
    Path("run.toml").write_text(
        'method = ["ridge"]\nsimulate = ["n_patients=3", "sections_per_patient=1", "n_spots=16", "n_genes=30"]\n'
        'genes = 5\nencoder = "mean-rgb"\nset = ["alpha=2"]\nseeds = [1, 2]\ncontrols = false\n'
    )
    said = lines_of(stbench("run", "--config", "run.toml", "--dry-run", "--genes", "6").out)
    assert (said["method"], said["genes"], said["seed"]) == ("ridge; alpha=2.0", "6", "1, 2")
    assert said["controls"] == "none"
    for text, reason in (
        ("gens = 5", "unknown option in run.toml 'gens': did you mean genes"),
        ('draws = "three"', "--config run.toml: expected int for draws, found 'three'"),
        ("genes = [", "--config: expected TOML in run.toml"),
    ):
        Path("run.toml").write_text(text)
        assert reason in stbench("run", "--config", "run.toml", "--dry-run").reason
    assert "--config: expected TOML in nowhere.toml" in stbench("run", "--config", "nowhere.toml").reason


RIDGE = ["run", "--method", "ridge", "--dry-run"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--method", "rigde"], "unknown method 'rigde': did you mean ridge"),
        ([*RIDGE, "--dataset", "simulatd"], "unknown dataset 'simulatd': did you mean simulated?"),
        ([*RIDGE, "--dataset", "no/such"], "found no such folder"),
        ([*RIDGE, "--set", "alfa=1"], "unknown setting of ridge 'alfa': did you mean alpha?"),
        ([*RIDGE, "--set", "alpha"], "--set: expected key=value, found 'alpha'"),
        ([*RIDGE, "--set", "alpha=1", "--set", "alpha=2"], "--set: expected alpha once"),
        ([*RIDGE, "--set", "alpha=-1"], "setting of ridge: alpha: Input should be greater than 0 (found -1)"),
        ([*RIDGE, "--set", "flg.alpha=1"], "unknown method of this run 'flg'"),
        ([*RIDGE, "--set", "ridge-rgb.alfa=1"], "unknown setting of ridge-rgb 'alfa'"),
        ([*RIDGE, "--simulate", "n_spot=5"], "unknown setting of simulated 'n_spot': did you mean n_spots"),
        ([*RIDGE, "--simulate", "n_spots=1"], "--simulate n_spots: Input should be greater than or equal to 4"),
        ([*RIDGE, "--genes", "1"], "--genes: expected numbers from 2 up"),
        ([*RIDGE, "--draws", "0"], "expected at least 1 draw"),
        ([*RIDGE, "--split", "slid"], "unknown split 'slid': did you mean slide?"),
        ([*RIDGE, "--encoder", "handcraft"], "unknown encoder 'handcraft': did you mean handcrafted-v1"),
        ([*RIDGE, "--encoder", "timm:resnet18"], "expected a local weight file"),
        ([*RIDGE, "--weights", "w.safetensors"], "expected no weights"),
        ([*RIDGE, "--patch", "224"], "--patch: expected a side such as 224px or 112um, found '224'"),
        ([*RIDGE, "--normalize", "log"], "log"),
        ([*RIDGE, "--preset", "papr"], "unknown preset 'papr': did you mean paper?"),
        ([*RIDGE, "--device", "gpu"], "unknown device 'gpu'"),
        ([*RIDGE, "--method", "ridge"], "expected every method once, found ridge twice"),
        ([*RIDGE, "--seed", "-1"], "--seeds: expected whole numbers"),
        ([*RIDGE, "--out", ""], "--out: expected a folder, found an empty name"),
        ([*RIDGE, "--genes", "5,6"], "--genes: expected one panel size, found 2; stbench sweep-genes"),
        ([*RIDGE, "--split", "lopo", "--simulate", "n_patients=1"], "at least 2 patients to leave one out, found 1"),
        ([*RIDGE, "--split", "lopo-P9"], "unknown patient 'P9'"),
        ([*RIDGE, "--simulate", "n_patients=1", "--simulate", "sections_per_patient=2"], "at least 3 slides"),
        ([*RIDGE, "--simulate", "n_patients=2", "--split", "patient"], "at least 3 patients"),
        (["leaderboard", "nowhere"], "expected record.json in nowhere, found none"),
        (["leaderboard", "nowhere", "--metric", "pc"], "unknown metric 'pc': did you mean pcc"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(stbench, tmp_path, words, said):
    assert said in stbench(*words).reason
    assert list(tmp_path.iterdir()) == []


def test_more_genes_than_there_are(stbench, tmp_path):
    ended = stbench("run", "--method", "ridge", *SMALL, "--genes", "31", "--out", "mine")
    assert (ended.code, ended.err.splitlines()[-1].startswith("stbench: error: expected at most")) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_simulation_settings_are_for_generated_cohorts(stbench, tmp_path):
    (tmp_path / "slides").mkdir()
    ended = stbench(*RIDGE, "--dataset", "./slides", "--simulate", "n_spots=9")
    assert "expected only with --dataset her2st-semisynthetic or simulated, found with ./slides" in ended.reason


def test_a_folder_in_no_known_layout(stbench, tmp_path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "notes.txt").write_text("")
    assert "found only notes.txt" in stbench(*RIDGE, "--dataset", "slides").reason


def test_missing_data_root(stbench, monkeypatch):
    assert "set --data-root or STBENCH_DATA" in stbench(*RIDGE, "--dataset", "her2st").reason
    monkeypatch.setenv("STBENCH_DATA", "no/such/root")
    reason = stbench(*RIDGE, "--dataset", "her2st").reason
    assert "no/such/root/her2st, found no such folder; to obtain it" in reason


def test_a_semi_synthetic_cohort_from_names_to_a_leaderboard(stbench, tmp_path, write_her2st):
    array = [(x, y) for x in range(2, 8) for y in range(2, 7)]
    for seed, section in enumerate(("A1", "A2", "B1", "B2")):
        matrix = np.random.default_rng(seed).poisson(3, (len(array), 4))
        write_her2st(tmp_path / "her2st", section, matrix, image=False, array=array)
    made = ["--dataset", "her2st-semisynthetic", "--data-root", tmp_path]
    made += ["--simulate", "n_genes=4", "--simulate", "dim=6", "--simulate", "share=0.9"]
    ended = stbench("run", "--method", "ridge", *made, "--genes", "3", "--out", "mine")
    assert ended.code == 0, ended.err
    rows = [line.split("  ")[0] for line in ended.out.splitlines()]
    assert {"best-from-own-spot", "ridge", "training-mean"} <= set(rows)
    assert "ridge-rgb: refused: needs pictures for its encoder mean-rgb, found none on 4 of 4 slides" in ended.out
    text = Path(stbench("leaderboard", "mine", "--out", "boards").out.splitlines()[-1]).read_text()
    assert "## her2st-semisynthetic (semi-synthetic), slide, 3 genes `L`" in text
    assert "carry 0.9 of every gene's variance" in text
    assert "--simulate share=0.9" in text
    refused = stbench("run", "--method", "ridge", *made, "--genes", "3", "--encoder", "mean-rgb", "--out", "other")
    assert refused.code == 2
    assert "has no image; leave it out or choose a method that needs no features" in refused.err
    assert not Path("other").exists()
    checked = stbench("datasets", "check", *made[1:])
    assert checked.code == 1  # the card knows 36 sections
    assert "4 of 36 on the card found (her2st layout); missing: SPA152 (A3)" in checked.out


def test_slides_of_the_card_that_are_not_there_are_named_before_the_run(stbench, write_her2st, tmp_path):
    for seed, section in enumerate(("A1", "B1", "C1")):
        write_her2st(tmp_path / "data/her2st", section, seed=seed)
    words = ["run", "--method", "ridge", "--dataset", "her2st", "--data-root", tmp_path / "data", "--dry-run"]
    (line,) = [line for line in stbench(*words).out.splitlines() if line.startswith("left out")]
    assert "SPA153 (A2), " in line
    assert line.endswith("not there, of the 36 slides of the card")
