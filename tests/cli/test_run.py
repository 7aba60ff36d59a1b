"""`stbench run` and `stbench leaderboard`, on a tiny simulated cohort."""

import json
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from stbench.evaluation.choices import Choices
from stbench.evaluation.record import read_record
from stbench.evaluation.session import CONTROLS

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
    assert {path.parent.name for path in Path("mine").glob("*/record.json")} == {"ridge", *CONTROLS, *ceilings}
    for row in (*ceilings, "ridge", "random-spot, mean of 2", "random-spot, 1 draw", "[total-counts]"):
        assert any(line.startswith(f"{row}  ") for line in ended.out.splitlines()), row
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
    assert {"ridge", "[total-counts]"} <= {row.split("  ")[0] for row in rows}
    assert sorted(found.name for found in Path("boards").iterdir()) == sorted(
        [Path(path).name, Path(path).stem + ".records.jsonl.xz"]
    )
    written = stbench("leaderboard", "mine", "--out", "boards", "--metric", "pcc-draw-sd")
    assert "PCC, sd over draws" in Path(written.out.splitlines()[-1]).read_text()
    assert "unknown metric 'pc-draw'" in stbench("leaderboard", "mine", "--metric", "pc-draw").reason


def test_a_command_says_every_choice(stbench, monkeypatch):
    choices = Choices(
        methods=("ridge", "some where.py:M"),
        dataset="her2st",
        genes=200,
        split="a b.json",
        split_seed=1,
        seed=2,
        draws=3,
        encoder="timm:vit",
        weights=Path("w.safetensors"),
        patch="112um",
        normalization="log2p1",
        preset="small",
        overrides=("k=3", "ridge.alpha=1"),
        simulate=("paper", "seed=1"),
        controls=False,
    )
    unsaid = {"data_root", "device"}
    assert {field.name for field in fields(Choices) if getattr(choices, field.name) == field.default} == unsaid
    understood = []
    monkeypatch.setattr("stbench.cli.run._start", lambda choices, *_, **__: understood.append(choices))
    stbench(*shlex.split(choices.command())[1:])
    assert understood == [choices]


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
    assert lines_of(ended.out)["out"].startswith("runs/simulated-g5-20")
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


def test_an_interrupted_run_resumes(stbench, monkeypatch):
    words = ["run", "--method", f"{METHODS}:Stops", "--method", f"{METHODS}:Works", "--no-controls", *SMALL]
    monkeypatch.setenv("STBENCH_TEST_STOP", "1")
    ended = stbench(*words, "--out", "mine")
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == "stbench: interrupted; the same command with --out mine --resume continues"
    assert not Path("mine/stops/record.json").exists()
    monkeypatch.delenv("STBENCH_TEST_STOP")
    assert "mine/stops already holds a run; --resume continues it" in stbench(*words, "--out", "mine").reason
    assert stbench(*words, "--out", "mine", "--resume").code == 0
    assert read_record(Path("mine/stops")).status == "done"
    assert "belongs to another run: seed 0 -> 1" in stbench(*words, "--out", "mine", "--resume", "--seed", "1").err


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
        ([*RIDGE, "--genes", "1"], "expected at least 2 genes"),
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
        ([*RIDGE, "--resume"], "--resume: expected the --out"),
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
    assert not list(Path("other").iterdir())
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
