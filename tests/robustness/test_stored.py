"""Each stored file of a run folder is cut, emptied, zeroed or flipped: the same numbers again, or one line."""

import random
import shutil
from pathlib import Path

import pytest

from stbench.errors import UserError
from stbench.evaluation.record import read_record
from stbench.evaluation.rescore import scored_prediction
from stbench.evaluation.run import run_method

from ..cli.conftest import TINY, cache, stbench
from .cohort import card, report, settings, split, task, trained
from .methods import STOP
from .tally import CLEAN, TRACEBACK, WRONG, Tally

__all__ = ["cache", "card", "report", "settings", "split", "stbench", "task", "trained"]

STOPS = {"training": "5", "predicting": "P3-s0", "finished": ""}
FILES = {
    "training": {"run.json", "log.jsonl", "work/training.pt", "work/history.csv"},
    "predicting": {
        *("run.json", "log.jsonl", "checkpoint.safetensors", "history.csv", "seals.json", "work/training.pt"),
        "predictions/P2-s1.h5ad",
    },
}
FILES["finished"] = FILES["predicting"] - {"work/training.pt"} | {"record.json", "model.json"}
RANDOM = random.Random(0)


def cut(content):
    return content[: RANDOM.randrange(len(content))]


def empty(content):
    return b""


def zero(content):
    start = RANDOM.randrange(max(len(content) - 4096, 1))
    return content[:start] + bytes(min(4096, len(content) - start)) + content[start + 4096 :]


def flip(content):
    place = RANDOM.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << RANDOM.randrange(8)]) + content[place + 1 :]


@pytest.fixture
def runs(task, trained, tmp_path, monkeypatch):
    """Folders of one run that was stopped in training, while predicting, and not at all."""
    for name, stop in STOPS.items():
        with monkeypatch.context() as patch:
            patch.setenv(STOP, stop)
            try:
                run_method(task, trained, folder=tmp_path / name)
            except KeyboardInterrupt:
                assert stop
    assert read_record(tmp_path / "finished").status == "done"
    return tmp_path


def numbers(record):
    return record.status, record.predictions, record.metrics, record.metrics_single_draw, record.per_gene


def stored(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def ended(again, expected, *, refused):
    """How a command ended; ``refused`` is how it is called where it ends in one line."""
    try:
        record = again()
    except UserError as error:
        return refused if str(error) and "\n" not in str(error) else TRACEBACK
    except Exception:  # noqa: BLE001
        return TRACEBACK
    return CLEAN if numbers(record) == expected else WRONG


def damaged(task, trained, runs, name, damages):
    """Every file of a folder, damaged in every way; then a reader of the record, and the same command."""
    expected, tally = numbers(read_record(runs / "finished")), Tally()
    folder = runs / "again"
    for file in sorted(FILES[name]):
        for damage in damages:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(runs / name, folder)
            (folder / file).write_bytes(damage((folder / file).read_bytes()))
            if name == "finished":
                read = ended(lambda: read_back(folder, task), expected, refused=CLEAN)
                tally.count(read, f"{file} {damage.__name__}, read")
            again = ended(lambda: run_method(task, trained, folder=folder, resume=True), expected, refused="stuck")
            tally.count(again, f"{file} {damage.__name__}")
    return tally


def read_back(folder, task):
    """The record of a folder, where its predictions are those it was made from."""
    record = read_record(folder)
    for slide_id in (*task.facts.test, *task.facts.validation):
        scored_prediction(folder, record, slide_id)
    return record


@pytest.mark.parametrize("name", STOPS)
def test_a_damaged_file_is_made_again_or_refused(task, trained, runs, name):
    assert FILES[name] <= stored(runs / name)
    assert {file for file in stored(runs / name) - FILES[name] if not file.startswith("predictions/")} == set()
    assert damaged(task, trained, runs, name, (cut, zero, flip)).wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("name", STOPS)
def test_many_damaged_files_are_made_again_or_refused(task, trained, runs, name, report):
    tally = damaged(task, trained, runs, name, (empty, cut, zero, flip) * 10)
    report(
        tally.text(
            f"a file of a run stopped in {name}"
            if STOPS[name]
            else "a file of a finished run, by the same command and by a reader"
        )
    )
    assert tally.wrong == []


def test_damage_is_found_where_it_would_change_a_number(task, trained, runs):
    """What the tests above compare does differ between runs, or they could not fail."""
    other = run_method(task, trained, folder=runs / "other", seed=1)
    assert numbers(other) != numbers(read_record(runs / "finished"))


SMALL = [*TINY, "--encoder", "mean-rgb", "--genes", "5", "--no-controls"]


def test_damaged_settings_of_a_folder_are_put_back(stbench):
    words = ["run", "--method", "ridge", *SMALL, "--out", "mine"]
    assert stbench(*words).code == 0
    record, path = Path("mine/ridge/record.json"), Path("mine/grid.json")
    before, whole = record.read_bytes(), path.read_bytes()
    for damage in (cut, zero, flip):
        path.write_bytes(damage(whole))
        assert stbench("cell", "mine", "1").out.startswith("ridge: done")
        reason = "mine belongs to another run: ridge: setting alpha None -> 3.0; choose another --out"
        assert stbench(*words, "--set", "ridge.alpha=3").reason == reason
        ended = stbench(*words)
        assert (ended.code, "its copy takes its place" in ended.out) == (0, True)
        assert "its copy" not in stbench(*words).out
        assert record.read_bytes() == before


def test_a_damaged_record_is_named_by_who_reads_it_and_made_again_by_who_made_it(stbench):
    words = ["run", "--method", "ridge", *SMALL, "--out", "mine"]
    assert stbench(*words).code == 0
    before, path = read_record(Path("mine/ridge")), Path("mine/ridge/record.json")
    path.write_text(path.read_text().replace('"mean": 0.', '"mean": 1.', 1))
    for reader in ("leaderboard", "compare"):
        assert "mine/ridge/record.json, found other content than was written" in stbench(reader, "mine").reason
    ended = stbench(*words)
    assert (ended.code, "what is there of it is scored again" in ended.err) == (0, True)
    assert numbers(read_record(Path("mine/ridge"))) == numbers(before)
