"""Caches: killed, shared, read-only, on a full disk, damaged. The numbers are the same, or there is one line."""

import errno
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from stbench.data.image import PatchSpec
from stbench.data.semisynthetic import SemisyntheticSettings, open_semisynthetic
from stbench.data.simulator import SimulationSettings, open_simulated
from stbench.errors import SettingError
from stbench.features.cache import cached
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features
from stbench.features.mapped import MappedArrays
from stbench.locks import wait_for

from ..evaluation.conftest import make_cohort, make_slide
from ._caches_tools import (
    TINY,
    Listener,
    Process,
    as_nobody,
    damages,
    duration,
    files_of,
    ran,
    read_only,
    room,
)

ENCODE = ["encode", "--dataset", "simulated", "--encoder", "mean-rgb", "--patch", "60px", *TINY]
SIMULATED = SimulationSettings(n_patients=2, sections_per_patient=1, n_spots=16, n_genes=30, um_per_px=4.0)
SEMISYNTHETIC = SemisyntheticSettings(n_genes=8, dim=16)
ROOMS = (0, 200, 3_000, 30_000)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What lies in the cache when nothing went wrong."""
    folder = tmp_path_factory.mktemp("expected")
    ended = ran(ENCODE, folder, folder / "cache")
    assert ended.code == 0, ended
    return files_of(folder / "cache")


@pytest.fixture
def shared():
    """A folder that other accounts can reach; those of pytest are closed to them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def check_killed(points, number, tmp_path, expected):
    """Kill the command at points of its work; the same command makes what was to be made, and nothing else is left."""
    whole = duration(ENCODE, tmp_path, tmp_path / "timed")
    killed = 0
    for point in range(points):
        cache = tmp_path / f"cache-{point}"
        ended = Process(ENCODE, tmp_path, cache).killed(whole * (point + 0.5) / points, number)
        killed += ended.code != 0
        assert ended.code in (0, 130, -number), ended
        if number == signal.SIGTERM:
            assert not list(cache.rglob("*.part*"))
        again = ran(ENCODE, tmp_path, cache)
        assert again.code == 0, again
        assert files_of(cache) == expected
    assert killed > points / 3


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_encode_goes_on_after_it_was_killed(number, tmp_path, expected):
    """Slow, as every point is a process."""
    check_killed(5, number, tmp_path, expected)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_encode_goes_on_wherever_it_was_killed(number, tmp_path, expected):
    check_killed(40, number, tmp_path, expected)


def test_two_processes_fill_one_cache_and_make_every_entry_once(tmp_path, expected):
    processes = [Process(ENCODE, tmp_path, tmp_path / "cache") for _ in range(2)]
    both = [process.ended() for process in processes]
    assert [ended.code for ended in both] == [0, 0], both
    said = [line for ended in both for line in ended.err.splitlines()]
    assert sorted(said) == [f"simulating slide P0{patient}S1" for patient in (1, 2, 3)]
    assert files_of(tmp_path / "cache") == expected


@pytest.mark.parametrize("size", ROOMS)
def test_a_full_disk_is_one_line_and_the_same_command_continues(size, tmp_path, expected):
    with room(size):
        ended = ran(ENCODE, tmp_path, tmp_path / "cache")
    assert ended.code == 2
    reasons = [line for line in ended.err.splitlines() if not line.startswith("simulating slide")]
    assert len(reasons) == 1, ended.err
    assert "File too large" in reasons[0]
    assert reasons[0].endswith("choose another cache folder with STBENCH_CACHE")
    assert all(expected[name] == content for name, content in files_of(tmp_path / "cache").items())
    assert ran(ENCODE, tmp_path, tmp_path / "cache").code == 0
    assert files_of(tmp_path / "cache") == expected


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_works(number, tmp_path, expected, monkeypatch):
    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    ended = ran(ENCODE, tmp_path, tmp_path / "cache")
    assert ended.code == 0, ended
    assert files_of(tmp_path / "cache") == expected


def test_a_complete_cache_that_is_read_only_is_read(shared, expected):
    assert ran(ENCODE, shared, shared / "cache").code == 0
    with read_only(shared):
        again = ran(ENCODE, shared, shared / "cache")
        other = ran([*ENCODE[:-1], "n_genes=31"], shared, shared / "cache")
    assert (again.code, again.err) == (0, "")
    assert files_of(shared / "cache") == expected
    assert "expected to write slide P01S1 into" in other.reason
    assert other.reason.endswith("choose another cache folder with STBENCH_CACHE")


def test_a_cache_that_is_closed_to_us_is_one_line(shared):
    assert ran(ENCODE, shared, shared / "cache").code == 0
    (shared / "cache").chmod(0)
    with as_nobody():
        ended = ran(ENCODE, shared, shared / "cache")
    (shared / "cache").chmod(0o700)
    assert "expected to write slide P01S1 into" in ended.reason
    assert ended.reason.endswith("choose another cache folder with STBENCH_CACHE")


def test_a_full_disk_leaves_no_half_cohort(tmp_path):
    entry = Semisynthetic(tmp_path)
    with room(3_000), pytest.raises(SettingError, match=r"expected to write .*File too large; choose another cache"):
        entry.read(Listener())
    assert not files_of(tmp_path / "semisynthetic")
    before = entry.read(Listener())
    for found, right in zip(entry.read(Listener()), before, strict=True):
        np.testing.assert_array_equal(found, right)


def test_arrays_of_a_task_find_another_place_where_the_cache_is_not_ours(shared):
    with read_only(shared):
        kept = MappedArrays([("a", np.arange(6, dtype=np.float32).reshape(2, 3))], shared)
    np.testing.assert_array_equal(kept.fresh()["a"], [[0, 1, 2], [3, 4, 5]])
    (shared / "file").touch()
    with pytest.raises(SettingError, match="expected room for the arrays of a task"):
        MappedArrays([], shared / "file")


def test_arrays_of_a_task_that_do_not_fit_are_one_line(tmp_path):
    with room(1000), pytest.raises(SettingError, match=r"expected room for the arrays of a task at .*File too large"):
        MappedArrays([("a", np.zeros((2, 100))), ("b", np.zeros((100, 100)))], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_read_while_another_process_holds_the_lock(tmp_path):
    key, entry = "a" * 64, np.ones((2, 3), dtype=np.float16)
    cached(tmp_path, key, lambda: entry)
    thread = threading.Thread(target=lambda: wait_for(tmp_path / f"{key}.lock", "nothing"))
    thread.start()
    thread.join()  # it ends without letting go
    np.testing.assert_array_equal(cached(tmp_path, key, lambda: pytest.fail("it is there")), entry)


class Simulated:
    """A simulated slide and its features."""

    files = ("P01S1.h5ad", "P01S1.png", "P01S1.sha256.json", "*.safetensors")

    def __init__(self, folder):
        self._folder = folder

    def read(self, listener):
        slide = open_simulated(SIMULATED, self._folder, listener).load("P01S1")
        features = slide_features(slide, load_encoder("mean-rgb"), PatchSpec(px=60), self._folder, listener)
        return [slide.counts.toarray(), slide.xy, slide.adata.layers["expected"], features]


class Semisynthetic:
    """A slide of real counts, and the features made from them."""

    files = ("P0-s0.h5ad", "sha256.json")

    def __init__(self, folder):
        self._folder, self._base = folder, make_cohort([make_slide(f"P{i}-s0", f"P{i}") for i in range(2)])
        (folder / "base").mkdir()

    def read(self, listener):
        made = open_semisynthetic(SEMISYNTHETIC, self._base, self._folder / "base", self._folder, listener)
        slide = made.load("P0-s0")
        return [slide.counts.toarray(), slide.xy, slide.features]


@pytest.mark.parametrize("places", [(0.5,), pytest.param((0, 0.001, 0.5, 1), marks=pytest.mark.slow)], ids=len)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in (Simulated, Semisynthetic) for name in kind.files])
def test_a_damaged_file_is_said_and_made_again(kind, name, places, tmp_path):
    """Slow, as a simulated slide is made again for every damage."""
    entry, listener = kind(tmp_path), Listener()
    before = entry.read(listener)
    (path,) = tmp_path.rglob(name)
    sound = path.read_bytes()
    for what, content in damages(sound, places):
        path.write_bytes(content)
        listener.lines.clear()
        for found, right in zip(entry.read(listener), before, strict=True):
            np.testing.assert_array_equal(found, right, err_msg=what)
        told = [line for line in listener.lines if "damaged" in line]
        assert len(told) == 1 or (told == [] and name == "sha256.json"), (what, listener.lines)
        assert path.read_bytes() == sound or name == "sha256.json", what
        path.write_bytes(sound)
