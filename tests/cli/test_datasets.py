"""`stbench datasets`."""

import json
import shlex
from pathlib import Path

import pytest

from stbench.catalogue import dataset_cards

from .conftest import TINY


def test_list(stbench):
    lines = stbench("datasets", "list").out.splitlines()
    assert {line.split()[0] for line in lines[2:]} == set(dataset_cards())


@pytest.mark.parametrize("name", list(dataset_cards()))
def test_show_says_licence_and_source(stbench, name):
    ended = stbench("datasets", "show", name)
    card = dataset_cards()[name]
    assert ended.code == 0
    assert card.licence in ended.out
    assert card.source in ended.out
    assert all(slide.id in ended.out for slide in card.slides)


def test_show_says_which_weights_have_seen_a_cohort(stbench):
    shown = stbench("datasets", "show", "kidney").out
    (stpath,) = [line for line in shown.splitlines() if line.startswith("stpath")]
    assert "saw, expression too" in stpath
    assert "looked up 2026-11-29" in stpath
    assert "stpath" not in stbench("datasets", "show", "simulated").out


def test_show_explains_the_simulation(stbench):
    assert "spots under tissue on every slide" in stbench("datasets", "show", "simulated").out


@pytest.mark.parametrize("command", [["show"], ["check"], ["export"]])
def test_unknown(stbench, command):
    folder = ["folder"] if command == ["export"] else []
    assert "did you mean simulated" in stbench("datasets", *command, "simulatd", *folder).reason


def test_an_exported_cohort_is_checked_and_run(stbench):
    ended = stbench("datasets", "export", "simulated", "mine", *TINY, "--patch-px", "64", "--um-per-px", "1")
    assert (ended.code, ended.out) == (0, "3 slides in mine\n")
    assert {path.name for path in Path("mine/st").iterdir()} == {"P01S1.h5ad", "P02S1.h5ad", "P03S1.h5ad"}
    checked = stbench("datasets", "check", "mine")
    assert checked.code == 0, checked.out + checked.err
    words = ["--dataset", "mine", "--encoder", "mean-rgb", "--patch", "64um", "--genes", "5", "--no-controls"]
    assert stbench("run", "--method", "ridge", *words).code == 0


def test_exported_slides_remain_simulated_and_keep_their_ceilings(stbench):
    stbench("datasets", "export", "simulated", "mine", *TINY, "--patch-px", "64", "--um-per-px", "1")
    words = ["--encoder", "mean-rgb", "--patch", "64um", "--genes", "5", "--out"]
    assert stbench("run", "--method", "ridge", "--dataset", "mine", *words, "own").code == 0
    page = Path(stbench("leaderboard", "own").out.splitlines()[-1]).read_text()
    assert "Simulated data: the numbers say nothing about tissue." in page
    assert json.loads(Path("own/ridge/record.json").read_text())["task"]["simulated"] is True
    ceiling = json.loads(Path("own/best-from-image/record.json").read_text())
    assert ceiling["status"] == "done", ceiling["reason"]


def test_export_into_a_folder_in_use(stbench):
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("")
    assert "expected a new or empty folder" in stbench("datasets", "export", "simulated", "mine", *TINY).reason


def test_check_without_data(stbench, tmp_path):
    reason = stbench("datasets", "check", "her2st", "--data-root", tmp_path).reason
    assert "her2st, found no such folder; to obtain it" in reason


def test_a_cohort_that_is_not_there_says_how_to_fetch_it(stbench, tmp_path):
    for words in (["--data-root", tmp_path / "my data"], []):
        reason = stbench("run", "--method", "ridge", "--dataset", "kidney", *words).reason
        command = "stbench datasets fetch " + reason.partition("stbench datasets fetch ")[2].partition(";")[0]
        root = str(words[1]) if words else "DIR"
        assert shlex.split(command) == ["stbench", "datasets", "fetch", "kidney", "--data-root", root]
    assert "--data-root" in stbench("datasets", "fetch", "--help").out


def test_too_few_usable_slides_say_why_the_others_are_left_out(stbench, tmp_path, write_her2st):
    for section in ("A1", "A2", "B1", "B2"):
        write_her2st(tmp_path / "her2st", section, image=False)
    reason = stbench("run", "--method", "ridge", "--dataset", "her2st", "--data-root", tmp_path).reason
    assert "expected at least 3 slides for train, validation and test, found 0; left out: " in reason
    assert "(4 slides): no picture in data/ST-imgs/<patient>/<section>/" in reason


def test_check_prints_a_table_and_fails_where_a_slide_is_damaged(stbench):
    stbench("datasets", "export", "simulated", "mine", *TINY, "--patch-px", "64", "--um-per-px", "1")
    sound = stbench("datasets", "check", "mine").out.splitlines()
    assert sound[0].split() == ["check", "verdict", "detail"]
    assert "FAIL" not in "".join(sound)
    slide = Path("mine/st/P02S1.h5ad")
    slide.write_bytes(slide.read_bytes()[:5000])
    ended = stbench("datasets", "check", "mine")
    assert (ended.code, ended.err) == (1, "")
    failed = [line for line in ended.out.splitlines() if "FAIL" in line]
    assert len(failed) == 1
    assert "P02S1.h5ad: expected an intact .h5ad file" in failed[0]


@pytest.mark.real
def test_check_moves_pictures_where_it_is_asked_to(stbench, tmp_path, write_her2st):
    write_her2st(tmp_path / "own")
    usual, moved = (
        stbench("datasets", "check", tmp_path / "own"),
        stbench("datasets", "check", tmp_path / "own", "--pictures"),
    )
    assert "picture of A1" not in usual.out
    assert "cannot tell whether it lies under its spots" in moved.out
    assert usual.code == moved.code == 0


def test_check_of_the_bundled_cohort_names_what_is_missing(stbench, real_data):
    ended = stbench("datasets", "check", "dlpfc", "--data-root", real_data)
    assert ended.code == 1
    assert "3 of 12 on the card found (spaceranger layout); missing: MISC12 (151507)" in ended.out
