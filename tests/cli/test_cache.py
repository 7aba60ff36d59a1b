"""`stbench cache`."""

import io

import pytest

from .conftest import TINY


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "own"


@pytest.fixture
def filled(stbench, cache):
    assert stbench("encode", "--encoder", "mean-rgb", *TINY).code == 0
    (cache / "mine.txt").touch()
    return cache


def entries_of(ended):
    return {line.split()[0]: int(line.split()[1]) for line in ended.out.splitlines()[2:-1]}


def test_kinds_are_listed_and_cleared(stbench, filled):
    listed = stbench("cache", "list")
    assert entries_of(listed) == {
        "features": 3,
        "patches": 0,
        "parsed": 0,
        "simulated": 3,
        "semisynthetic": 0,
        "other": 1,
    }
    assert listed.out.splitlines()[-1] == f"folder  {filled}"
    ended = stbench("cache", "clear", "features", "--yes")
    assert (ended.code, ended.out) == (0, f"removed 3 entries in {filled}\n")
    assert entries_of(stbench("cache", "list"))["simulated"] == 3
    assert stbench("cache", "clear", "--yes").code == 0
    assert [path.name for path in filled.iterdir()] == ["mine.txt"]
    assert stbench("cache", "clear").out == f"removed 0 entries in {filled}\n"


def test_it_asks(stbench, filled, monkeypatch):
    said = stbench("cache", "clear", "features").reason
    assert said == "expected an answer whether to remove 3 entries of features, found no terminal; add --yes to agree"
    for answer, left in (("n\n", 3), ("y\n", 0)):
        terminal = io.StringIO(answer)
        terminal.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", terminal)
        stbench("cache", "clear", "features")
        assert entries_of(stbench("cache", "list"))["features"] == left


def test_a_kind_that_is_none(stbench, filled):
    assert "unknown kind 'feature': did you mean features?" in stbench("cache", "clear", "feature", "--yes").reason
    assert "what stbench did not make is left alone" in stbench("cache", "clear", "other", "--yes").reason
