"""`--secret`: a secret seed on the command line, and where it must not turn up."""

import hashlib
import json
import shlex
from pathlib import Path

import pytest

from stbench.evaluation.public import FILE_NAME, is_public
from stbench.evaluation.record import read_record
from stbench.grids.remote import run_as_process

from .conftest import TINY

DIGGERS = Path(__file__).with_name("diggers.py")
SMALL = [*TINY, "--encoder", "mean-rgb", "--genes", "5", "--no-controls"]
RUN = ["run", "--method", "training-mean", *SMALL]


@pytest.fixture
def seed(tmp_path_factory):
    """A file for a seed, away from the current folder; not there yet."""
    return tmp_path_factory.mktemp("kept") / "board.seed"


def sha256(file):
    return hashlib.sha256(file.read_text().strip().encode()).hexdigest()


def test_one_file_is_one_board(stbench, seed):
    first = stbench(*RUN, "--secret", seed, "--out", "first")
    assert first.code == 0, first.err
    assert f"a secret seed was made, its SHA-256 is {sha256(seed)}" in first.err
    again = stbench(*RUN, "--secret", seed, "--out", "again")
    assert "was made" not in again.err
    stbench(*RUN, "--secret", seed.with_name("other.seed"), "--out", "other")
    stbench(*RUN, "--out", "public")
    records = {name: read_record(Path(name, "training-mean")) for name in ("first", "again", "other", "public")}
    first, again = records["first"], records["again"]
    assert (first.task, first.metrics, first.predictions) == (again.task, again.metrics, again.predictions)
    assert len({record.task.hash for record in records.values()}) == 3
    assert [record.task.secret for record in records.values()].count(sha256(seed)) == 2
    assert {name: is_public(record) for name, record in records.items()} == {
        **dict.fromkeys(records, False),
        "public": True,
    }


def test_a_folder_belongs_to_one_seed(stbench, seed):
    stbench(*RUN, "--secret", seed, "--out", "mine")
    seed.with_name("other.seed").write_text("ab" * 32)
    other = stbench(*RUN, "--secret", seed.with_name("other.seed"), "--out", "mine").reason
    assert f"mine belongs to another run: secret '{sha256(seed)}' -> " in other
    assert f"secret '{sha256(seed)}' -> None" in stbench(*RUN, "--out", "mine").reason
    assert stbench(*RUN, "--secret", seed, "--out", "mine").code == 0
    folders = [
        dict(line.split(maxsplit=1) for line in stbench(*RUN, *more, "--dry-run").out.splitlines() if line)["out"]
        for more in (["--secret", seed], ["--secret", seed.with_name("other.seed")], [])
    ]
    assert len(set(folders)) == 3
    moved = seed.rename(seed.with_name("moved.seed"))
    assert folders[0] in stbench(*RUN, "--secret", moved, "--dry-run").out


def test_a_method_finds_neither_the_seed_nor_where_it_lies(stbench, seed, monkeypatch):
    """In its environment, its words, its memory, the files it holds open, or all files at or below where it works."""
    words = ["run", "--method", f"{DIGGERS}:Digs", *SMALL, "--secret", str(seed), "--out", "mine"]
    monkeypatch.setattr("sys.argv", ["stbench", *words])  # a worker is given those of the process that starts it
    ended = stbench(*words)
    assert ended.code == 0, ended.err
    (found,) = Path("mine").rglob("texts.json")
    said = json.loads(found.read_text())
    found.unlink()
    assert len(said["texts"]) > 1000
    assert not {"Secret", "SimulationSettings", "Cohort"} & set(said["names"])
    for told in (seed.read_text().strip(), str(seed), seed.name):
        assert not [text for text in said["texts"] if told in text]
        assert not [path for path in Path.cwd().rglob("*") if path.is_file() and told.encode() in path.read_bytes()]


def test_the_command_of_a_record_says_file_in_its_place(stbench, seed):
    stbench(*RUN, "--secret", seed, "--out", "mine")
    record = read_record(Path("mine/training-mean"))
    words = shlex.split(record.command)
    assert words[words.index("--secret") + 1] == "FILE"
    assert "secret" not in record.request
    words[words.index("FILE")] = str(seed)
    assert stbench(*words[1:], "--out", "again").code == 0
    assert read_record(Path("again/training-mean")).task == record.task


def test_cells_and_sweeps_ask_for_the_file(stbench, seed):
    words = ["sweep-genes", "--methods", "training-mean", *SMALL[:-3], "--genes", "4,6", "--no-controls"]
    assert stbench(*words, "--secret", seed, "--out", "mine", "--prepare").code == 0
    assert (
        f"expected the secret seed of SHA-256 {sha256(seed)}, found none; give" in stbench("cell", "mine", "1").reason
    )
    wrong = seed.with_name("wrong.seed")
    assert "No such file" in stbench("cell", "mine", "1", "--secret", wrong).reason
    assert not wrong.exists()
    wrong.write_text("ab" * 32)
    assert f"found {sha256(wrong)}; give" in stbench("cell", "mine", "1", "--secret", wrong).reason
    assert stbench("cell", "mine", "1", "--secret", seed).code == 0
    assert run_as_process("mine", "2", {}, str(seed))[0] == 0  # what a Dask worker does
    assert stbench(*words, "--secret", seed, "--out", "mine").code == 0
    assert "--secret FILE" in next(Path("mine").glob("*.md")).read_text()
    records = [read_record(path) for path in Path("mine").rglob("record.json")]
    assert {record.task.secret for record in records} == {sha256(seed)}
    assert all("--secret FILE" in record.command for record in records)


def test_scores_are_made_again_with_the_file(stbench, seed):
    stbench(*RUN, "--secret", seed, "--out", "mine")
    before = read_record(Path("mine/training-mean"))
    assert "expected the secret seed of SHA-256" in stbench("rescore", "mine").reason
    assert stbench("rescore", "mine", "--secret", seed).code == 0
    assert read_record(Path("mine/training-mean")) == before
    assert stbench("export", "mine/training-mean", "out", "--with-truth", "--secret", seed).code == 0


def test_a_board_is_closed_once_and_stays_closed(stbench, seed):
    stbench(*RUN, "--secret", seed, "--out", "mine")
    text = seed.read_text().strip()
    page = Path(stbench("leaderboard", "mine", "--out", "boards").out.splitlines()[-1])
    assert sha256(seed) in page.read_text()
    assert text not in page.read_text()
    assert stbench("leaderboard", "mine", "--out", "boards", "--publish-secret", seed).code == 0
    closed = page.read_text()
    assert f"the board is closed, its seed is published: `{text}`" in closed
    assert (Path("boards") / FILE_NAME).read_text().splitlines()[0] == text
    (command,) = [line for line in closed.splitlines() if line.startswith("stbench leaderboard")]
    assert stbench(*shlex.split(command)[1:]).code == 0
    assert page.read_text() == closed
    archive = next(Path("boards").glob("*.xz"))
    again = stbench("leaderboard", archive, "--rescore", "--out", "copy")  # an archive has no predictions
    assert "expected the folder of a run" in again.reason
    assert stbench("leaderboard", archive, "--out", "copy").code == 0
    Path("boards").rename("leaderboards")
    late = ["run", "--method", "ridge", *SMALL, "--secret", seed, "--split", "lopo"]
    assert "Nothing is ranked here: the seed of the cohort is public" in stbench(*late, "--out", "late").out
    Path("leaderboards").rename("boards")
    assert "No method is ranked here; the best control is `ridge`" in stbench(*late, "--out", "late").out
    assert f"`{text}`" in next(Path("copy").glob("*.md")).read_text()


@pytest.mark.parametrize("dataset", ["her2st", "folder"])
def test_a_secret_seed_is_for_generated_cohorts(stbench, seed, write_her2st, dataset):
    write_her2st(Path("folder"))
    asked = "./folder" if dataset == "folder" else dataset
    words = ["run", "--method", "training-mean", "--dataset", asked, "--data-root", ".", "--secret", seed]
    reason = stbench(*words).reason
    assert reason.startswith("--secret: expected only with --dataset her2st-semisynthetic or simulated, found with")
    assert reason.endswith("leave it out")
    assert not seed.exists()


def test_bad_files_are_one_line(stbench, seed):
    seed.write_text("ab")
    assert "--secret: expected 64 hexadecimal digits in" in stbench(*RUN, "--secret", seed).reason
    assert "Is a directory" in stbench(*RUN, "--secret", seed.parent).reason
    assert "--secret: expected a file outside" in stbench(*RUN, "--secret", "board.seed").reason
    assert not Path("board.seed").exists()
