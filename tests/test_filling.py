"""Entries of a cache that several processes, accounts and machines fill."""

import shutil
import tempfile
from pathlib import Path

import pytest

from stbench.errors import SettingError
from stbench.filling import filling

from .robustness._caches_tools import Listener, as_nobody, read_only


@pytest.fixture
def shared():
    """A folder that every account may write to; those of pytest are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_what_a_killed_process_left_of_the_entry_goes(tmp_path):
    for name in (".a.17.part.npy", ".a.sha256.17.part.json", ".ab.17.part.npy", "a.npy"):
        (tmp_path / name).touch()
    (tmp_path / ".a.18.part").mkdir()
    with filling(tmp_path, "a", "entry a", Listener()):
        assert {path.name for path in tmp_path.iterdir()} == {".ab.17.part.npy", "a.npy", "a.lock"}


def test_a_folder_that_is_not_ours_is_said_before_anything_is_computed(shared):
    expected = r"expected to write slide A1 into .*, found: .*; choose another cache folder with STBENCH_CACHE"
    with read_only(shared), pytest.raises(SettingError, match=expected):
        enter(shared / "deep")
    with read_only(shared), pytest.raises(SettingError, match=expected):
        enter(shared)


def enter(folder):
    with filling(folder, "A1", "slide A1", Listener()):
        pytest.fail("nothing can be written here")


def test_a_lock_of_another_account_is_done_without(shared):
    lock = shared / "A1.lock"
    lock.touch()
    lock.chmod(0)
    with as_nobody(), filling(shared, "A1", "slide A1", Listener()):
        (shared / "A1.npy").write_bytes(b"made")
    assert (shared / "A1.npy").read_bytes() == b"made"


def test_a_full_disk_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stbench.filling.wait_for", full)
    with pytest.raises(SettingError, match="No space left on device; choose another cache folder"):
        enter(tmp_path)
