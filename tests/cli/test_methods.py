"""`stbench methods` and `stbench metrics`."""

from pathlib import Path

import pytest

from stbench.catalogue import method_cards, metric_cards

from .conftest import TINY

KNN = Path(__file__).parents[1] / "plugin" / "stbench-knn" / "stbench_knn.py"
FAULTY = Path(__file__).parents[1] / "proofs" / "faulty.py"
CHEATS = FAULTY.with_name("cheats.py")


def test_list(stbench):
    lines = stbench("methods", "list").out.splitlines()
    assert {line.split()[0] for line in lines[2:]} == set(method_cards())


@pytest.mark.parametrize("name", list(method_cards()))
def test_show(stbench, name):
    ended = stbench("methods", "show", name)
    assert ended.code == 0
    assert ended.out.startswith("name")


def test_show_explains_every_setting(stbench):
    out = stbench("methods", "show", "ridge").out
    assert "largest absolute z-score of a feature" in out
    assert "5.0" in out


def test_show_says_what_presets_were_tuned_on(stbench):
    lines = stbench("methods", "show", "bleep").out.splitlines()
    assert [line.split() for line in lines if line.startswith("tuned")] == [
        ["tuned", "preset", "small", "on", "simulated", "seed=1:", "P01,", "P02,", "P03,", "P04"],
        ["tuned", "preset", "small", "on", "her2st:", "patient_f,", "patient_g,", "patient_h"],
    ]


def test_show_a_file(stbench):
    out = stbench("methods", "show", f"{KNN}:Knn").out
    assert "k nearest neighbours" in out
    assert "training spots averaged per spot" in out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ridg", "did you mean ridge"),
        ("no/such/file.py:Class", "no file no/such/file.py"),
        (f"{KNN}:Kn", "expected 'Kn'"),
        (f"{KNN}:KnnSettings", "expected a subclass"),
    ],
)
def test_unknown(stbench, name, said):
    assert said in stbench("methods", "show", name).reason


def test_check(stbench):
    ended = stbench("methods", "check", f"{KNN}:Knn")
    assert ended.code == 0
    assert "FAIL" not in ended.out
    assert "refuses without features: needs features, found none on slide P1-a and 4 more" in ended.out


def test_check_that_fails(stbench):
    ended = stbench("methods", "check", f"{FAULTY}:Vandal")
    assert ended.code == 1
    (line,) = (line for line in ended.out.splitlines() if "FAIL" in line)
    assert "features" in line


def test_metrics(stbench):
    lines = stbench("metrics", "list").out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(metric_cards())
    (mse,) = (line for line in lines if line.startswith("mse "))
    assert "lower" in mse


@pytest.mark.parametrize(("name", "code"), [("Honest", 0), ("ReadsSiblings", 1)])
def test_check_on_a_cohort(stbench, name, code):
    words = ["--dataset", "simulated", *TINY, "--genes", "4", "--encoder", "mean-rgb"]
    ended = stbench("methods", "check", f"{CHEATS}:{name}", *words)
    (scramble,) = (line for line in ended.out.splitlines() if line.startswith("label scramble"))
    assert "moving the counts of 1 test slide" in scramble if code else "predicted the same" in scramble
    assert ended.code == code
    assert "first the contract suite, then slide of simulated" in ended.err


def test_check_says_what_its_options_need(stbench):
    said = stbench("methods", "check", "ridge", "--genes", "4").reason
    assert said == "--genes: expected --dataset beside it, found none; the contract suite has its own"
