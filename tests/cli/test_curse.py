"""`stbench curse`."""

import json
from pathlib import Path

import pytest

from .conftest import TINY

SMALL = ["--spots", "3", "--repeats", "2"]


def test_without_a_dataset(stbench):
    ended = stbench("curse", "--genes", "3,5,9", *SMALL)
    assert ended.code == 0, ended.err
    names = [f"runs/curse/gaussian.{ending}" for ending in ("md", "json", "png", "svg")]
    assert ended.out.splitlines()[-4:] == names
    assert "error of the Gram estimator" in ended.out
    assert "stbench curse --genes 3,5,9 --spots 3 --seed 0 --repeats 2\n" in Path(names[0]).read_text()
    assert Path(names[2]).read_bytes().startswith(b"\x89PNG")


def test_a_simulated_cohort_is_marked(stbench):
    ended = stbench("curse", "--dataset", "simulated", *TINY, "--genes", "3,5,9", *SMALL, "--out", "one")
    assert ended.code == 0, ended.err
    assert "simulated: simulated counts" in ended.out
    assert "## simulated: simulated counts" in Path("one/simulated.md").read_text()
    assert "simulated (simulated counts)" in Path("one/simulated.svg").read_text()
    assert json.loads(Path("one/simulated.json").read_text())["cohort"]["simulated"] is True


def test_a_folder_is_a_cohort(stbench):
    stbench("datasets", "export", "simulated", "mine", *TINY, "--patch-px", "64", "--um-per-px", "1")
    ended = stbench("curse", "--dataset", "mine", "--genes", "3,5,9", *SMALL)
    assert ended.code == 0, ended.err
    assert Path("runs/curse/mine.md").is_file()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--genes", "1,5,9"], "over one gene is undefined and over two genes always 1 or -1"),
        (["--genes", "2,5,9"], "--genes: expected at least 3, found 2"),
        (["--genes", "5,9"], "at least 3 different sizes to fit an exponent"),
        (["--genes", "few"], "--genes: expected panel sizes"),
        (["--spots", "2"], "--spots: expected 3 to 40"),
        (["--repeats", "1"], "--repeats: expected at least 2"),
        (["--simulate", "n_spots=16"], "--simulate: expected only with --dataset simulated"),
        (["--dataset", "simulatd"], "did you mean simulated"),
        (["--dataset", "her2st", "--data-root", "."], "to obtain it"),
        (["--dataset", "simulated", *TINY, "--genes", "3,5,500"], "two disjoint panels out of the"),
        (["--dataset", "simulated", *TINY, "--genes", "3,5,9", "--spots", "17"], "found 16 of 16"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(stbench, words, reason):
    assert reason in stbench("curse", *words).reason
    assert not Path("runs").exists()


def test_a_folder_that_cannot_be_written(stbench):
    Path("taken").write_text("")
    assert "choose another --out" in stbench("curse", "--genes", "3,5,9", *SMALL, "--out", "taken").reason
