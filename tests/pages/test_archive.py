"""Records of a board in one file."""

import json
import lzma
from pathlib import Path

import pytest

from stbench.errors import DataError
from stbench.evaluation.record import write_record
from stbench.pages import archive
from stbench.pages.archive import ENDING, read_archive, read_records, write_archive

from ..grids.conftest import facts, record

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
RECORDS = [record(name, facts(5), [0.1, 0.2, 0.3], seed=seed) for name in ("b", "a") for seed in (0, 1)]


def methods(records):
    return [(one.method, one.seed) for one in records]


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "boards" / f"tiny{ENDING}"
    write_archive(path, RECORDS)
    return path


def test_the_same_records_give_the_same_bytes(packed, tmp_path):
    back = list(read_archive(packed))
    assert sorted(one.model_dump_json() for one in back) == sorted(one.model_dump_json() for one in RECORDS)
    write_archive(tmp_path / "again", [*reversed(back), back[0]])
    assert (tmp_path / "again").read_bytes() == packed.read_bytes()
    assert [path.name for path in packed.parent.iterdir()] == [packed.name]


def test_folders_files_and_archives_together(packed, tmp_path):
    for name in ("c", "d"):
        write_record(record(name, facts(5), [0.1] * 3), tmp_path / "runs" / name)
    assert methods(read_records([packed])) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert methods(read_records([packed.parent])) == methods(read_records([packed]))
    assert methods(read_records([tmp_path / "runs/c/record.json"])) == [("c", 0)]
    everything = {("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("d", 0)}
    assert set(methods(read_records([tmp_path]))) == everything
    mixed = [tmp_path / "runs/c", packed, tmp_path / "runs/d/record.json", packed.parent]
    assert sorted(methods(read_records(mixed))) == sorted(everything)  # each once


def test_trials_of_a_study_are_on_no_board(tmp_path):
    for name in ("run/a", "study/fold/b"):
        write_record(record(name[-1], facts(5), [0.1] * 3), tmp_path / name)
    (tmp_path / "study" / "tuning.json").write_text("{}")
    assert methods(read_records([tmp_path])) == [("a", 0)]
    assert methods(read_records([tmp_path / "study"])) == [("b", 0)]
    (tmp_path / "run" / "a" / "record.json").unlink()
    with pytest.raises(DataError, match=r"found only trials of studies; give a study to see them$"):
        list(read_records([tmp_path]))


def test_what_is_the_word_of_a_board_alone(tmp_path):
    said = {"rescored": True, "closed_with": True}
    claims = record("a", facts(5), [0.1] * 3).model_copy(update=said)
    write_record(claims, tmp_path / "run")
    write_archive(tmp_path / f"board{ENDING}", [claims])
    (own,), (boards,) = (list(read_records([tmp_path / name])) for name in ("run", f"board{ENDING}"))
    assert (own.rescored, own.closed_with) == (False, False)
    assert (boards.rescored, boards.closed_with) == (True, True)


def cut(content):
    return content[:-20]


def no_json(content):
    return lzma.compress(lzma.decompress(content).replace(b'"schema_version"', b"schema", 1))


def half_a_line(content):
    return lzma.compress(lzma.decompress(content)[:-9])


def of_another_version(content):
    return lzma.compress(lzma.decompress(content).replace(b'"schema_version":', b'"schema_version":9', 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "its end is missing"),
        (lambda content: content + b"more", "something behind its end"),
        (lambda _: b"this is no archive", "Input format not supported"),
        (lambda _: lzma.compress(b"{}\n"), "line 1 of"),
        (no_json, "expected a record in line 1 of"),
        (half_a_line, "part of one at its end"),
        (of_another_version, "found schema 92 in place of 2"),
    ],
)
def test_what_is_no_archive_is_said_in_one_line(packed, damage, said):
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(DataError, match=said) as error:
        list(read_records([packed]))
    assert len(str(error.value).splitlines()) == 1
    assert "write it again with stbench leaderboard" in str(error.value)


def test_no_more_is_unpacked_than_agreed(packed, monkeypatch):
    monkeypatch.setattr(archive, "_MOST_BYTES", 3 * 2**20)
    packed.write_bytes(lzma.compress(b" " * 2**26))
    with pytest.raises(DataError, match="more than 3 MiB in it"):
        list(read_archive(packed))
    monkeypatch.setattr(archive, "_MOST_LINE", 2**20)
    with pytest.raises(DataError, match="records of at most 1 MiB"):
        list(read_archive(packed))


def test_an_archive_that_asks_for_much_memory_is_refused(packed):
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**28}]
    packed.write_bytes(lzma.compress(packed.read_bytes(), filters=greedy))
    with pytest.raises(DataError, match="Memory usage limit"):
        list(read_archive(packed))


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"expected record\.json in .*, found none"):
        list(read_records([tmp_path]))
    with pytest.raises(DataError, match="No such file"):
        list(read_records([tmp_path / f"none{ENDING}"]))


def test_committed_archives_are_small_and_readable():
    paths = sorted(LEADERBOARDS.glob(f"*{ENDING}"))
    boards = {path.stem for path in LEADERBOARDS.glob("*-g*.md") if "-tune-" not in path.stem}
    assert {path.name.removesuffix(ENDING) for path in paths} == boards
    for path in paths:
        assert path.stat().st_size < 5 * 2**20
        assert all(json.loads(one.model_dump_json()) for one in read_archive(path))
