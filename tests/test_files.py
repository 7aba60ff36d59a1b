"""Files appear whole or not at all."""

import errno
import json
import os
from pathlib import Path

import pytest

from stbench.errors import DataError, SettingError, UserError
from stbench.files import (
    check_seal,
    new_folder,
    read_sealed,
    remove,
    remove_parts,
    seal,
    whole,
    write_sealed,
    write_text,
)


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "page.md"
    with whole(path) as part:
        part.write_text("text")
        assert not path.exists()
        assert part.suffix == ".md"
    assert path.read_text() == "text"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_replaces_the_one_before(tmp_path):
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with whole(path) as part:
            part.mkdir()
            (part / content).write_text(content)
    assert [child.name for child in path.iterdir()] == ["new"]


def test_a_new_folder_takes_nobody_elses_place(tmp_path, monkeypatch):
    path = tmp_path / "folder"

    def fail():
        with new_folder(path) as part:
            (part / "half").touch()
            raise UserError("too late")

    with pytest.raises(UserError, match="too late"):
        fail()
    assert list(tmp_path.iterdir()) == []
    with new_folder(path) as part:
        (part / "mine").touch()
    with pytest.raises(UserError, match=r"expected a new or empty folder, found .*folder in use"), new_folder(path):
        pass
    monkeypatch.chdir(tmp_path)
    for name in ("", "."):
        with pytest.raises(UserError, match="expected the name of a new or empty folder"), new_folder(Path(name)):
            pass
    assert [child.name for child in path.iterdir()] == ["mine"]


def test_what_a_killed_process_left_of_a_folder_goes(tmp_path):
    left = tmp_path / ".folder.part"
    (left / "deep").mkdir(parents=True)
    (left / "deep" / "half").touch()
    with new_folder(tmp_path / "folder") as part:
        assert part == left
        assert list(part.iterdir()) == []
        (part / "mine").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/mine"]


def test_the_second_of_two_writers_of_a_folder_is_refused(tmp_path):
    def second():
        with new_folder(tmp_path / "folder"):
            pytest.fail("two at once")

    with new_folder(tmp_path / "folder") as part:
        (part / "mine").touch()
        with pytest.raises(UserError, match=r"another process is writing .*folder; wait for it, or choose another"):
            second()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/mine"]


def test_names_of_what_is_half_written_are_nobody_elses(tmp_path):
    with whole(tmp_path / "x.npy") as one, whole(tmp_path / "x.npy") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "x.npy").read_text() == "one"


def failing(path, problem, **options):
    """Write half a file, then fail."""
    with whole(path, **options) as part:
        part.write_text("half")
        raise problem


def test_what_was_there_stays_when_the_block_fails(tmp_path):
    path = tmp_path / "page.md"
    write_text(path, "first")
    with pytest.raises(ZeroDivisionError):
        failing(path, ZeroDivisionError())
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path):
    path = tmp_path / "page.md"
    with pytest.raises(UserError, match=r"expected to write .*page.md, found: .*No space left.*; free some space"):
        failing(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(SettingError, match=r"found: unexpected pos; elsewhere"):
        failing(
            path,
            RuntimeError("unexpected pos\nof the file"),
            hint="elsewhere",
            also=(RuntimeError,),
            error=SettingError,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_by_the_system(tmp_path):
    def fill():
        with whole(tmp_path / "x") as part:
            part.symlink_to("/dev/full")
            part.write_text("text")

    with pytest.raises(UserError, match="No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another --out"):
        write_text(tmp_path / "file" / "page.md", "text", hint="choose another --out")


def test_what_is_on_the_disk_is_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink().name))
    write_text(tmp_path / "page.md", "text")
    assert any(name.endswith(".part.md") for name in synced)


def test_remove(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    remove(tmp_path / "folder")
    remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_object_comes_back(tmp_path):
    said = {"b": [1, 2.5, None], "a": {"x": "é\n"}}
    write_sealed(tmp_path / "x.json", said)
    assert read_sealed(tmp_path / "x.json") == said
    (tmp_path / "x.json").write_text(json.dumps(said))  # as files of before there were seals
    assert read_sealed(tmp_path / "x.json") == said


def test_every_flip_in_a_sealed_object_is_found_or_changes_nothing(tmp_path):
    said = {"seed": 10, "scores": [0.25, -1e-5], "name": "slide A", "none": None}
    write_sealed(tmp_path / "x.json", said)
    content = (tmp_path / "x.json").read_bytes()
    for place in range(len(content)):
        (tmp_path / "x.json").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = read_sealed(tmp_path / "x.json")
        except DataError:
            continue
        assert found == said, place


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff{}", b"[" * 100_000, b"null"])
def test_what_is_no_object_in_json(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError):
        read_sealed(tmp_path / "x.json")


def test_a_sealed_file(tmp_path):
    path = tmp_path / "x.bin"
    for content in (b"", b"a" * (2**20 + 5)):
        path.write_bytes(content)
        with pytest.raises(DataError):
            check_seal(path)
        seal(path)
        check_seal(path)
        sealed = path.read_bytes()
        assert sealed.startswith(content)
        for changed in (sealed[:-1], sealed + b"\n", b"b" + sealed[1:], sealed[:-1] + b"\0"):
            path.write_bytes(changed)
            with pytest.raises(DataError, match="by its hash"):
                check_seal(path)


def test_parts_of_processes_that_are_gone_are_removed(tmp_path):
    mine, gone, other = (tmp_path / f".x.{name}.7.part.json" for name in (os.getpid(), 999_999_999, "mine"))
    for path in (mine, gone, other):
        path.touch()
    remove_parts(tmp_path)
    remove_parts(tmp_path / "nowhere")
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])
