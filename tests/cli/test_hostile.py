"""Files of others on the command line: one line, exit code 2 (1 for ``check``), no traceback, nothing outside."""

import gzip
import json
import os

import pytest

from ..data.layouts import write_her2st
from ..pages.test_leaderboard import record


@pytest.fixture
def cohort(tmp_path):
    for seed, name in enumerate(("A1", "B1", "C1")):
        write_her2st(tmp_path / "mine", name, seed=seed)
    return tmp_path / "mine"


def test_a_gzip_that_unpacks_without_end(stbench, cohort, monkeypatch):
    monkeypatch.setenv("STBENCH_MAX_TABLE_GB", "0.01")
    path = cohort / "data/ST-cnts/B1.tsv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(12):
            file.write(b"0\t" * 500_000)
    assert path.stat().st_size < 2**20
    ended = stbench("datasets", "check", cohort)
    assert ended.code == 1
    (row,) = [line for line in ended.out.splitlines() if "FAIL" in line]
    assert "B1.tsv.gz" in row
    assert "set STBENCH_MAX_TABLE_GB" in row
    assert "A1" not in row


@pytest.mark.parametrize("place", ["data/ST-cnts/B1.tsv.gz", "data/ST-spotfiles/B1_selection.tsv"])
def test_pipes_and_devices_do_not_hang(stbench, cohort, place):
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (cohort / place).unlink()
        make(cohort / place)
        ended = stbench("datasets", "check", cohort)
        assert ended.code == 1
        assert "B1" in "".join(line for line in ended.out.splitlines() if "FAIL" in line)
        assert "Traceback" not in ended.err


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "\udcff"])
def test_paths_that_no_system_takes(stbench, cohort, name):
    for words in (
        ("run", "--method", "ridge", "--dataset", cohort, "--split", name),
        ("run", "--method", "ridge", "--dataset", name),
        ("run", "--method", "ridge", "--dataset", f"/{name}"),
        ("run", "--method", "ridge", "--config", name),
        ("leaderboard", name),
        ("datasets", "check", f"./{name}"),
    ):
        assert stbench(*words).reason


@pytest.mark.parametrize("patch", ["100000px", f"{10**30}px", "9e9um", f"{'9' * 400}um", "1000000um"])
def test_a_patch_that_fits_in_no_memory(stbench, cohort, patch):
    words = ("run", "--method", "ridge", "--no-controls", "--dataset", cohort, "--genes", "2", "--encoder", "mean-rgb")
    assert "--patch" in stbench(*words, "--patch", patch).reason


def test_a_zero_byte_in_a_configuration(stbench, cohort, tmp_path):
    for line in ('dataset = "/a\\u0000b"', f"dataset = '{cohort}'\nsplit = \"a\\u0000b\""):
        (tmp_path / "run.toml").write_text(line)
        assert stbench("run", "--method", "ridge", "--config", "run.toml").reason
    (tmp_path / "run.toml").write_text("x = " + "[" * 100_000)
    assert stbench("run", "--method", "ridge", "--config", "run.toml").reason


def test_a_record_writes_nothing_outside(stbench, tmp_path):
    said = record("x", [0.1] * 4).model_dump()
    said["task"]["dataset"] = "../../../OUTSIDE"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/record.json").write_text(json.dumps(said))
    reason = stbench("leaderboard", "run", "--out", "a/b/c/d").reason
    assert "task.dataset '../../../OUTSIDE': no name that a file may bear" in reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_names_with_codes_of_terminals(stbench, cohort):
    path = cohort / "data/ST-cnts/B1.tsv.gz"
    path.rename(path.with_name("B\x1b[2J.tsv.gz"))
    ended = stbench("datasets", "check", cohort)
    assert "\x1b" not in ended.out + ended.err
    assert "rename it" in ended.out
    assert "\x1b" not in stbench("run", "--method", "\x1b[2J", "--dataset", cohort).err


def test_a_cohort_whose_folder_has_no_name_for_files(stbench, cohort):
    bad = cohort.rename(cohort.with_name("mine\n# x"))
    assert "rename it" in stbench("datasets", "check", f"./{bad.name}").reason
