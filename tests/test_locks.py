"""Locks: who waits is told for what, and disks without locks have them too."""

import errno
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from filelock import FileLock

from stbench import locks
from stbench.errors import UserError
from stbench.locks import sole, wait_for
from stbench.process import ending_as_interrupted

from .robustness._caches_tools import Listener


@pytest.fixture(params=["locks", errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def disk(request, monkeypatch):
    """A disk with locks, and three kinds of network disks without."""

    def flock(handle, operation):
        raise OSError(request.param, "no locks here")

    if request.param != "locks":
        monkeypatch.setattr("fcntl.flock", flock)
    return request.param


@contextmanager
def held_by_another(path, seconds):
    """A lock in the hands of another thread, for a while."""
    begun = threading.Event()

    def hold():
        lock = wait_for(path, "nothing")
        begun.set()
        time.sleep(seconds)
        lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    yield
    thread.join()


def test_a_long_wait_is_said_and_ends_with_the_lock(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "SAYS_AFTER_S", 0.1)
    listener = Listener()
    with held_by_another(tmp_path / "x.lock", 0.4):
        began = time.perf_counter()
        wait_for(tmp_path / "x.lock", "making slide A1", listener).release()
        assert time.perf_counter() - began > 0.2
    (line,) = listener.lines
    assert line.startswith("waiting for another process that is making slide A1: it holds ")
    assert str(tmp_path / "x.lock") in line
    assert ("removed by hand" in line) == (disk in (errno.ENOLCK, errno.EOPNOTSUPP))


def test_a_short_wait_is_not(disk, tmp_path):
    listener = Listener()
    with held_by_another(tmp_path / "x.lock", 0.1):
        wait_for(tmp_path / "x.lock", "making slide A1", listener).release()
    assert listener.lines == []


def test_the_second_of_two_is_refused_and_no_file_stays(disk, tmp_path):
    expected = pytest.raises(UserError, match=r"another is at work; wait for it \(it holds .*x\.lock")
    with sole(tmp_path / "x.lock", "another is at work; wait for it"), expected:
        refused(tmp_path / "x.lock")
    assert list(tmp_path.iterdir()) == []
    with sole(tmp_path / "x.lock", "not again"):
        pass
    assert list(tmp_path.iterdir()) == []


def refused(path):
    with sole(path, "another is at work; wait for it"):
        pytest.fail("two at once")


def test_who_waited_for_a_lock_without_a_name_begins_again(tmp_path):
    """The file goes with the lock: one that opened it before must not hold it beside one that makes it anew."""
    path, entered = tmp_path / "x.lock", []

    def wait():
        held = wait_for(path, "x")
        entered.append(path.stat().st_ino)
        time.sleep(0.1)
        entered.append(path.stat().st_ino)
        held.release()

    with sole(path, "busy"):
        waiting = [threading.Thread(target=wait) for _ in range(3)]
        for thread in waiting:
            thread.start()
        time.sleep(0.1)
    for thread in waiting:
        thread.join()
    assert len(entered) == 6
    assert entered[0::2] == entered[1::2]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        wait_for(tmp_path / "file" / "x.lock", "x")


def test_it_is_the_lock_that_others_know(tmp_path):
    with FileLock(tmp_path / "x.lock"), pytest.raises(UserError, match="another is at work"):
        refused(tmp_path / "x.lock")


@pytest.mark.parametrize("place", ["taken", "_remove"])
def test_a_signal_while_a_lock_is_taken_or_given_back_leaves_no_file(tmp_path, monkeypatch, place):
    """A job that a batch system ended there left its lock behind."""
    done = getattr(locks, place)

    def struck(*words):
        found = done(*words) if place == "taken" else None
        signal.raise_signal(signal.SIGTERM)
        return found if place == "taken" else done(*words)

    monkeypatch.setattr(locks, place, struck)
    with pytest.raises(KeyboardInterrupt), ending_as_interrupted(), sole(tmp_path / "x.lock", "busy"):
        assert place == "_remove"
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    with sole(tmp_path / "x.lock", "busy"):
        assert (tmp_path / "x.lock").exists()
