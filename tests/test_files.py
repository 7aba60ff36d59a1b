"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from stbench.errors import SettingError, UserError
from stbench.files import new_folder, remove, whole, write_text


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
