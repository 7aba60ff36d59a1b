"""A method that another package brings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "plugin" / "stbench-knn"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder the package was installed into, without network."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for path in PACKAGE.iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    words = ["--no-deps", "--no-build-isolation", "--target", target, source]
    subprocess.run([*pip, *words], check=True, capture_output=True)
    return target


@pytest.fixture
def stbench(installed, tmp_path):
    def run(*words):
        environment = {**os.environ, "PYTHONPATH": str(installed), "STBENCH_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "stbench", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)

    return run


def test_it_is_listed(stbench):
    ended = stbench("methods", "list")
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith("knn "))
    assert "from package stbench-knn" in line


def test_it_is_checked(stbench):
    ended = stbench("methods", "check", "knn")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_it_is_run_and_ranked(stbench):
    tiny = ["--simulate", "n_patients=3", "--simulate", "sections_per_patient=1", "--simulate", "n_spots=16"]
    words = ["--method", "knn", "--encoder", "mean-rgb", "--genes", "5", "--no-controls", "--set", "k=4"]
    ended = stbench("run", *words, *tiny, "--simulate", "n_genes=30")
    assert ended.returncode == 0, ended.stderr
    assert "\nknn  " in ended.stdout


def test_it_is_short():
    assert len((PACKAGE / "stbench_knn.py").read_text().splitlines()) <= 40
