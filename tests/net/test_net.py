"""The net under a rebuild: task hashes, pages and predictions of before are those of now."""

import hashlib
import json

import numpy as np
import pytest

from stbench.catalogue import method_cards
from stbench.pages.archive import ENDING, read_records
from stbench.pages.leaderboard import leaderboard
from stbench.pages.sections import leaderboard_csv
from stbench.studies.ablation.report import write_ablated
from stbench.studies.ablation.results import read_ablation
from stbench.studies.sweep.report import write_report

from . import watched

HASHES = json.loads(watched.HASHES.read_text())
BOARDS = json.loads(watched.BOARDS.read_text())  # name to sha256 of the CSV
ROUNDING = 1e-4  # another processor rounds otherwise, and training carries it on


@pytest.mark.parametrize("name", watched.SIMULATED)
def test_hashes_of_generated_tasks(name, tmp_path, monkeypatch):
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "cache"))
    assert watched.task_hash(watched.SIMULATED[name], tmp_path / "run", tmp_path) == HASHES[name]


@pytest.mark.real
@pytest.mark.parametrize("name", watched.REAL)
def test_hashes_of_real_tasks(name, tmp_path, monkeypatch, real_data):
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "cache"))
    assert watched.task_hash(watched.REAL[name], tmp_path / "run", real_data) == HASHES[name]


@pytest.mark.parametrize("name", json.loads(watched.SETTINGS.read_text()))
def test_settings_of_every_preset(name):
    assert watched.settings_of(name) == json.loads(watched.SETTINGS.read_text())[name]


@pytest.mark.parametrize("name", sorted(method_cards()))
def test_predictions(name, tmp_path):
    with np.load(watched.PREDICTIONS) as kept:
        if f"{name}/draws" not in kept:
            pytest.skip("newer than the net")
        same_processor = str(kept["processor"]) == watched.processor()
        for key, found in watched.predictions_of(name, tmp_path).items():
            if same_processor:
                np.testing.assert_array_equal(found, kept[key], err_msg=key)
            else:
                np.testing.assert_allclose(found, kept[key], rtol=ROUNDING, atol=ROUNDING, err_msg=key)


def test_tables_of_ablations(tmp_path, monkeypatch):
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "cache"))
    assert watched.flag_tables() == watched.TABLES.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BOARDS)
def test_bytes_of_leaderboards(name):
    folder = watched.ROOT / "leaderboards"
    page, records = (folder / f"{name}.md").read_text(), list(read_records([folder / f"{name}{ENDING}"]))
    (command,) = [line for line in page.splitlines() if line.startswith("stbench leaderboard")]
    assert leaderboard(records, command=command) == page
    assert hashlib.sha256(leaderboard_csv(records).encode()).hexdigest() == BOARDS[name]


@pytest.mark.parametrize("kind", ["sweep", "ablation"])
def test_bytes_of_grids(kind, tmp_path):
    kept = watched.read_folders()[kind]
    pages = {name: text for name, text in kept.items() if name.endswith((".md", ".csv")) and "/" not in name}
    watched.lay({name: text for name, text in kept.items() if name not in pages}, tmp_path)
    write_report(tmp_path) if kind == "sweep" else write_ablated(tmp_path, read_ablation(tmp_path))
    assert {name: (tmp_path / name).read_text() for name in pages} == pages
