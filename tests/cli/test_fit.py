"""`stbench fit`, on a tiny simulated cohort."""

from pathlib import Path

from stbench.evaluation.model import load_model

from .conftest import TINY

WORDS = [*TINY, "--encoder", "mean-rgb", "--genes", "5", "--device", "cpu"]


def test_a_model_file(stbench):
    ended = stbench("fit", "--method", "ridge", *WORDS, "--set", "alpha=2", "--out", "mine")
    assert ended.code == 0, ended.err
    assert "\nvalidation  P0" in ended.out
    assert ended.out.splitlines()[-1].endswith(": mine")
    facts, method = load_model(Path("mine"))
    assert (facts.method, facts.settings["alpha"], method.settings.alpha) == ("ridge", 2.0, 2.0)
    assert (len(facts.train), len(facts.validation)) == (2, 1)
    assert (
        "expected a new or empty folder, found mine in use"
        in stbench("fit", "--method", "ridge", *WORDS, "--out", "mine").reason
    )


def test_a_network_is_trained_and_its_history_kept(stbench):
    ended = stbench("fit", "--method", "flag", "--preset", "test", *WORDS, "--out", "mine")
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in Path("mine").iterdir()) == ["history.csv", "model.json", "model.safetensors"]
    assert load_model(Path("mine"))[1].module_ is not None


def test_options_of_runs_alone_are_not_offered(stbench):
    for option in ("--split", "--draws", "--no-controls"):
        assert option not in stbench("fit", "--help").out.split("--split-seed")[0]
    assert "ceiling" in stbench("fit", "--method", "best-from-image", *WORDS, "--out", "mine").reason
    assert not Path("mine").exists()
